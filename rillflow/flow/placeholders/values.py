"""Placeholders: what stands for a value while a flow is traced.

A placeholder is an expression over values of the context, and has no value itself. Operators and
attributes make further placeholders. What would need the value now, such as ``if`` or ``len``, is
refused with a message that shows the right form. Placeholders have no methods, so that every
attribute can be a field.

Used by `flow`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NoReturn, Protocol, TypeAlias

from rillflow.flow.placeholders.constants import checked
from rillflow.flow.places import refusal

MOST_DEPTH: Final = 40
MOST_OPERATIONS: Final = 200
ALL: Final = slice(None)
"""The step ``[:]``, which leads to every element of a list."""
Step: TypeAlias = str | int | slice
Steps: TypeAlias = tuple[Step, ...]


class Origin(Protocol):
    """What a value of the context comes from.

    Attributes:
        key: The entry of the context that has the value.
        is_list: Whether the value is a list for certain.
    """

    @property
    def key(self) -> str:
        """Return the entry of the context."""

    @property
    def is_list(self) -> bool:
        """Tell whether the value is a list for certain."""


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """A value of the context: an entry, and the steps from it.

    Attributes:
        is_optional: Whether it may be missing, so that a rule without effect is right.
    """

    origin: Origin
    steps: Steps = ()
    is_optional: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """A value that is known while the flow is traced: what JSON has."""

    value: Any


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """A value that is computed from others.

    Attributes:
        kind: A key of ``expressions.FORMS``.
        operands: What it is computed from.
        text: The expression of the language, of the kind ``expression`` only.
        names: The names of the operands in that text.
        depth: How deeply operations are nested in it.
        size: How many operations there are in it.
    """

    kind: str
    operands: "tuple[Node, ...]"
    text: str = ""
    names: tuple[str, ...] = ()
    depth: int = 1
    size: int = 1


Node: TypeAlias = Reference | Constant | Operation


class Value:
    """A placeholder for a value that is known only while the workflow runs."""

    __slots__ = ("_node",)

    _node: Node

    def __init__(self, node: Node) -> None:
        object.__setattr__(self, "_node", node)

    # -- fields and elements --------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        """Return the field of an object."""
        if name.startswith("_"):
            raise AttributeError(name)  # what copy, pickle and inspect look for
        return self[name]

    def __getitem__(self, step: object) -> Any:
        """Return a field, an element, or with ``[:]`` that of every element."""
        if isinstance(step, bool) or not isinstance(step, str | int | slice):
            raise refusal(f"{shown(self)}[...] takes a key, an index or [:], not {step!r:.60}")
        if isinstance(step, slice) and step != ALL:
            raise refusal(
                f"of slices there is only [:], as in {shown(self)}[:].name;"
                " take a part of a list in a function"
            )
        node = self._node
        if not isinstance(node, Reference):
            if isinstance(step, slice):
                raise refusal(f"[:] needs a value of the context, and {shown(self)} is computed")
            return operation("get", self, step)
        if node.origin.is_list and not node.steps and isinstance(step, str):
            raise refusal(
                f"{shown(self)} is a list: write {shown(self)}[:].{step} for that field of every"
                f" element, or {shown(self)}[0].{step} for that of the first"
            )
        if isinstance(step, slice) and ALL in node.steps:
            raise refusal(f"{shown(self)} is a list already; [:] stands once in a value")
        return Value(Reference(node.origin, (*node.steps, step), node.is_optional))

    # -- operators ------------------------------------------------------------------

    def __add__(self, other: object) -> Any:
        return _operation("+", self, other)

    def __radd__(self, other: object) -> Any:
        return _operation("+", other, self)

    def __sub__(self, other: object) -> Any:
        return _operation("-", self, other)

    def __rsub__(self, other: object) -> Any:
        return _operation("-", other, self)

    def __mul__(self, other: object) -> Any:
        return _operation("*", self, other)

    def __rmul__(self, other: object) -> Any:
        return _operation("*", other, self)

    def __truediv__(self, other: object) -> Any:
        return _operation("/", self, other)

    def __rtruediv__(self, other: object) -> Any:
        return _operation("/", other, self)

    def __floordiv__(self, other: object) -> Any:
        return _operation("//", self, other)

    def __rfloordiv__(self, other: object) -> Any:
        return _operation("//", other, self)

    def __mod__(self, other: object) -> Any:
        return _operation("%", self, other)

    def __rmod__(self, other: object) -> Any:
        return _operation("%", other, self)

    def __pow__(self, other: object) -> Any:
        return _operation("**", self, other)

    def __rpow__(self, other: object) -> Any:
        return _operation("**", other, self)

    def __neg__(self) -> Any:
        return _operation("negative", self)

    def __eq__(self, other: object) -> Any:
        return _operation("==", self, other)

    def __ne__(self, other: object) -> Any:
        return _operation("!=", self, other)

    def __lt__(self, other: object) -> Any:
        return _operation("<", self, other)

    def __le__(self, other: object) -> Any:
        return _operation("<=", self, other)

    def __gt__(self, other: object) -> Any:
        return _operation(">", self, other)

    def __ge__(self, other: object) -> Any:
        return _operation(">=", self, other)

    def __and__(self, other: object) -> Any:
        return _operation("&", self, other)

    def __rand__(self, other: object) -> Any:
        return _operation("&", other, self)

    def __or__(self, other: object) -> Any:
        return _operation("|", self, other)

    def __ror__(self, other: object) -> Any:
        return _operation("|", other, self)

    def __invert__(self) -> Any:
        return _operation("not", self)

    # -- what needs the value now ---------------------------------------------------

    def __bool__(self) -> bool:
        """Refuse ``if``, ``while``, ``and``, ``or``, ``not`` and comparisons in a row."""
        text = shown(self)
        raise refusal(
            f"Python cannot decide on `{text}`, which is known only while the workflow runs."
            f" Instead of `if`, write when({text}, lambda: ...).otherwise(lambda: ...); instead of"
            f" `and`, `or`, `not` and `0 < x < 9`, write all_of(...), any_of(...) and not_(...)"
        )

    def __iter__(self) -> Iterator[Any]:
        text = shown(self)
        raise refusal(
            f"Python cannot go through `{text}`, which is known only while the workflow runs."
            f" Instead of `for item in {text}`, write foreach({text}, lambda item: ...)"
        )

    def __len__(self) -> int:
        raise refusal(f"instead of len({shown(self)}), write length({shown(self)})")

    def __contains__(self, item: object) -> bool:
        raise refusal(
            f"instead of `{_said(item)} in {shown(self)}`,"
            f" write contains({shown(self)}, {_said(item)})"
        )

    def __str__(self) -> str:
        return self._no_text()

    def __format__(self, _: str) -> str:
        return self._no_text()

    def _no_text(self) -> NoReturn:
        text = shown(self)
        raise refusal(
            f"`{text}` has no text while the flow is traced. Instead of an f-string, write"
            f' "..." + {text} + "..."; instead of str({text}), write text({text})'
        )

    def __call__(self, *_: object, **__: object) -> NoReturn:
        """Refuse calls of methods."""
        text = shown(self)
        raise refusal(
            f"`{text}(...)` calls a method of a value that is known only while the workflow runs."
            " Compute it in a function that a task calls, or by an expression of the language:"
            f' expression("string.length(x)", x=...)'
        )

    def _no_number(self) -> NoReturn:
        text = shown(self)
        raise refusal(
            f"`{text}` is no number while the flow is traced; instead of int({text}) or"
            f' float({text}), write expression("long(x)", x={text}) or "double(x)"'
        )

    def __int__(self) -> int:
        self._no_number()

    def __float__(self) -> float:
        self._no_number()

    def __index__(self) -> int:  # noqa: PLE0305 - it always raises
        self._no_number()

    def __hash__(self) -> int:
        raise refusal(f"`{shown(self)}` is no key of a dict and no member of a set")

    def __setattr__(self, name: str, _: object) -> None:
        self._no_change(name)

    def __setitem__(self, key: object, _: object) -> None:
        self._no_change(str(key))

    def __delitem__(self, key: object) -> None:
        self._no_change(str(key))

    def _no_change(self, name: str) -> NoReturn:
        raise refusal(
            f"`{shown(self)}` cannot be changed; make a new value of it, such as"
            f' {{"{name}": ..., "other": {shown(self)}.other}}'
        )

    def __repr__(self) -> str:
        """Return the placeholder as an author writes it; debuggers show it."""
        return f"<placeholder {shown(self)}>"


def node_of(value: object) -> Node:
    """Return what a value stands for: a placeholder's node, or the value itself.

    Raises:
        FlowError: JSON has no such value.
    """
    if isinstance(value, Value):
        return value._node  # noqa: SLF001 - ours
    return Constant(checked(value))


def operation(kind: str, *operands: object, text: str = "", names: tuple[str, ...] = ()) -> Any:
    """Return the placeholder of an operation."""
    nodes = tuple(map(node_of, operands))
    inner = [node for node in nodes if isinstance(node, Operation)]
    depth = 1 + max((node.depth for node in inner), default=0)
    size = 1 + sum(node.size for node in inner)
    if depth > MOST_DEPTH or size > MOST_OPERATIONS:
        raise refusal(
            f"an expression has at most {MOST_OPERATIONS} operations, {MOST_DEPTH} in each other;"
            " compute larger ones in a function that a task calls"
        )
    return Value(Operation(kind, nodes, text, names, depth, size))


def references_in(node: Node) -> Iterator[Reference]:
    """Go through the values of the context that a node reads."""
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Reference):
            yield one
        elif isinstance(one, Operation):
            waiting.extend(reversed(one.operands))


def _operation(kind: str, *operands: object) -> Any:
    return operation(kind, *operands)


_SHOWN: Final = {"negative": "-{}", "not": "not_({})", "get": "{}[{}]"}
_MOST_SHOWN: Final = 80


def shown(value: object) -> str:
    """Write a placeholder as an author does, for messages."""
    text = _written(value._node if isinstance(value, Value) else Constant(value))  # noqa: SLF001
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def _written(node: Node) -> str:
    if isinstance(node, Constant):
        return _said(node.value)
    if isinstance(node, Reference):
        return node.origin.key + "".join(map(_step, node.steps))
    operands = [_written(operand) for operand in node.operands]
    if node.kind in _SHOWN:
        return _SHOWN[node.kind].format(*operands)
    if node.kind.isidentifier():
        return f"{node.kind}({', '.join(operands)})"
    return f" {node.kind} ".join(
        f"({text})" if isinstance(operand, Operation) else text
        for text, operand in zip(operands, node.operands, strict=True)
    )


def _step(step: Step) -> str:
    if isinstance(step, slice):
        return "[:]"
    if isinstance(step, str) and step.isidentifier():
        return f".{step}"
    return f"[{step!r}]"


def _said(value: object) -> str:
    return shown(value) if isinstance(value, Value) else f"{value!r:.40}"
