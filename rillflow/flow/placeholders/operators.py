"""Functions in the place of operators that placeholders cannot have: ``and``, ``not``, ``len``.

Of values that are known while the flow is traced, they compute what Python does.

Used by `flow`, `flow/groups.py` and `flow/orders.py`.
"""

import operator
from collections.abc import Callable, Container, Iterable, Sized
from functools import reduce
from typing import Any, Final, TypeVar

from rillflow.errors import LanguageError
from rillflow.flow.placeholders.literals import as_value
from rillflow.flow.placeholders.values import (
    Operation,
    Reference,
    Value,
    node_of,
    operation,
    references_in,
)
from rillflow.flow.places import refusal
from rillflow.language.expressions import compile_expression

T = TypeVar("T")

_LONGEST: Final = 10_000
_LOGICAL: Final = frozenset({"==", "!=", "<", "<=", ">", ">=", "&", "|", "not", "contains"})


def length(value: Sized) -> int:
    """Return the number of elements, entries or characters; 0 of what is missing."""
    return _computed("length", len, value)


def contains(values: Container[Any], value: Any) -> bool:
    """Tell whether a list has an element, or a text a part."""
    return _computed("contains", operator.contains, values, value)


def text(value: Any) -> str:
    """Return a value as text."""
    return _computed("text", str, value)


def join(values: Iterable[str], separator: str = "") -> str:
    """Return the elements of a list as one text."""
    return _computed("join", _joined_text, values, separator)


def all_of(*conditions: Any) -> bool:
    """Tell whether all conditions hold: Python's ``and``."""
    return _joined("&", all, conditions)


def any_of(*conditions: Any) -> bool:
    """Tell whether one of the conditions holds: Python's ``or``."""
    return _joined("|", any, conditions)


def not_(condition: Any) -> bool:
    """Tell whether a condition does not hold: Python's ``not``."""
    return _computed("not", operator.not_, _logical(condition))


def optional(value: T) -> T | None:
    """Return a value that may be missing, which then writes nothing.

    Without it, a value that is missing is a mapping warning, and a failure of a strict flow.
    """
    node = node_of(value)
    if not isinstance(node, Reference):
        raise refusal("optional(...) takes a value of a task or a parameter, and no computed one")
    found: T = Value(Reference(node.origin, node.steps, is_optional=True))  # type: ignore[assignment] # a placeholder of that type
    return found


def expression(text: str, /, **values: Any) -> Any:
    """Compute a value by an expression of the workflow language.

    Args:
        text: The expression, in which the values have the names that they are given here, such as
            ``expression("string.length(title)", title=film.title)``.
        values: Placeholders and constants.

    Raises:
        FlowError: It is no expression, or has no placeholder.
    """
    if not any(isinstance(value, Value) for value in values.values()):
        raise refusal("an expression needs a placeholder; compute other values in Python")
    if len(text) > _LONGEST:
        raise refusal(f"the expression has more than {_LONGEST} characters")
    try:
        compile_expression(text)
    except LanguageError as error:
        raise refusal(f"the expression {text!r:.80} is wrong: {error}") from None
    operands = map(as_value, values.values())
    return operation("expression", *operands, text=text, names=tuple(values))


def truth_of(condition: object) -> Any:
    """Return a condition that is true or false: a value of the context is compared with true.

    Raises:
        FlowError: It is a value that is known while the flow is traced, or no condition.
    """
    if isinstance(condition, bool):
        raise refusal(
            f"a condition is {condition} already while the flow is traced: use Python's `if`"
        )
    if not isinstance(condition, Value):
        raise refusal(f"a condition is a comparison of placeholders, not {condition!r:.40}")
    node = node_of(condition)
    is_logical = isinstance(node, Operation) and node.kind in _LOGICAL
    return condition if is_logical else operation("==", condition, True)  # noqa: FBT003 - JSON


def _logical(condition: object) -> Any:
    return condition if isinstance(condition, bool) else truth_of(condition)


def _joined_text(texts: Iterable[str], between: str) -> str:
    return between.join(texts)


def _joined(kind: str, known: Callable[..., bool], conditions: tuple[Any, ...]) -> bool:
    logical = [_logical(condition) for condition in conditions]
    if not any(isinstance(condition, Value) for condition in logical):
        return known(logical)
    joined: bool = reduce(lambda left, right: operation(kind, left, right), logical)
    return joined


def _computed(kind: str, known: Callable[..., T], *operands: object) -> T:
    """Return the placeholder of an operation, or its value if that is known while tracing."""
    values = list(map(as_value, operands))
    if not any(next(references_in(node_of(it)), None) for it in values):
        return known(*operands)
    placeholder: T = operation(kind, *values)
    return placeholder
