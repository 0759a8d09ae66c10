"""The syntax tree of an expression or script.

Chains of operators, suffixes, conditions and branches are flat tuples, not nested
pairs, so the depth of a tree is the depth of its brackets and blocks, which the
parser bounds.

Used by `language/expressions` and `language/expressions/closures`.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from rillflow.language.versions import FIRST


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant; the value is nil, a boolean, a number, a string or a pattern."""

    value: Any


@dataclass(frozen=True, slots=True)
class Template:
    """A string with ``#{...}`` in it: plain texts and the blocks between them."""

    parts: "tuple[str | Sequence, ...]"


Key: TypeAlias = str | int


@dataclass(frozen=True, slots=True)
class Name:
    """A variable, or ``a.b.c``: the keys are read in the value of the variable.

    Only a quoted name, ``#a.b[1]``, has indexes among its keys.
    """

    name: str
    keys: tuple[Key, ...] = ()

    @property
    def text(self) -> str:
        """The name as it was written, without what quotes it."""
        keys = (f"[{key}]" if isinstance(key, int) else f".{key}" for key in self.keys)
        return "".join((self.name, *keys))


@dataclass(frozen=True, slots=True)
class Element:
    """The suffix ``[index]``, and ``.key`` after a bracket."""

    index: "Node"


@dataclass(frozen=True, slots=True)
class Arguments:
    """The suffix ``(...)``: a call of what stands before it."""

    values: "tuple[Node, ...]"


Suffix: TypeAlias = Element | Arguments


@dataclass(frozen=True, slots=True)
class Suffixed:
    """A value and what is applied to it from left to right."""

    target: "Node"
    suffixes: tuple[Suffix, ...]


@dataclass(frozen=True, slots=True)
class Unary:
    """``!``, ``-`` or ``~`` before a value."""

    operator: str
    operand: "Node"


@dataclass(slots=True)
class Chain:
    """Operators of one rank, applied from left to right: ``first op value op value``."""

    rank: int
    first: "Node"
    rest: "list[tuple[str, Node]]" = field(default_factory=list)


@dataclass(slots=True)
class Logic:
    """``&&`` or ``||`` over two or more operands; evaluation stops when it is decided."""

    operator: str
    operands: "list[Node]"


@dataclass(frozen=True, slots=True)
class Power:
    """``base ** exponent``."""

    base: "Node"
    exponent: "Node"


@dataclass(frozen=True, slots=True)
class Conditional:
    """``test ? value : test ? value : otherwise``."""

    branches: "tuple[tuple[Node, Node], ...]"
    otherwise: "Node"


@dataclass(frozen=True, slots=True)
class Function:
    """``lambda(a, b) -> ... end`` and ``fn (a, &rest) {...}``.

    Where ``variadic`` is set, the last parameter takes the remaining arguments.
    """

    parameters: tuple[str, ...]
    variadic: bool
    body: "Sequence"


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator given as an argument, as in ``reduce(list, +, 0)``."""

    operator: str


@dataclass(frozen=True, slots=True)
class Let:
    """``let name = value``, and ``fn name(...) {...}``: the innermost block gets it."""

    name: str
    value: "Node"


@dataclass(frozen=True, slots=True)
class Assign:
    """``name = value``: the innermost block that has the name, or else the innermost."""

    name: str
    value: "Node"


@dataclass(frozen=True, slots=True)
class Store:
    """``target[key] = value`` and ``target.key = value``."""

    target: "Node"
    key: "Node"
    value: "Node"


@dataclass(frozen=True, slots=True)
class Sequence:
    """Statements in a block of their own; the value is the last one's.

    ``discards`` is set where a semicolon ends the last expression: the value is nil.
    """

    statements: "tuple[Node, ...]"
    discards: bool = False


@dataclass(frozen=True, slots=True)
class If:
    """``if test {...} elsif test {...} else {...}``; without a branch taken, nil."""

    branches: "tuple[tuple[Node, Sequence], ...]"
    otherwise: Sequence | None


@dataclass(frozen=True, slots=True)
class For:
    """``for x in values {...}``, and ``for k, v in map`` or ``for i, x in list``."""

    names: tuple[str, ...]
    values: "Node"
    body: Sequence


@dataclass(frozen=True, slots=True)
class While:
    """``while test {...}``."""

    test: "Node"
    body: Sequence


@dataclass(frozen=True, slots=True)
class Return:
    """``return value;``."""

    value: "Node"


@dataclass(frozen=True, slots=True)
class Throw:
    """``throw value;``: the expression fails with this message."""

    value: "Node"


@dataclass(frozen=True, slots=True)
class Leave:
    """``break;`` and ``continue;``."""

    word: str


Node: TypeAlias = (
    Literal
    | Template
    | Name
    | Suffixed
    | Unary
    | Chain
    | Logic
    | Power
    | Conditional
    | Function
    | Operator
    | Let
    | Assign
    | Store
    | Sequence
    | If
    | For
    | While
    | Return
    | Throw
    | Leave
)


class Extension(NamedTuple):
    """What Rillflow understands in an expression, but AviatorScript 5.2.7 does not.

    Attributes:
        place: Line and column in the expression, for messages.
        what: The construct.
        instead: What both understand.
    """

    place: str
    what: str
    instead: str


@dataclass(frozen=True, slots=True)
class Program:
    """A whole text.

    Attributes:
        body: Its statements.
        bound: Names that the text gives values to somewhere; all others can only
            come from outside.
        mutates: Whether the text may change a list or map in place, so that values
            from outside must be copied first.
        extensions: What in it only Rillflow understands, in the order written.
        since: The version of the language that knows all of its syntax.
    """

    body: Sequence
    bound: frozenset[str]
    mutates: bool
    extensions: tuple[Extension, ...] = ()
    since: int = FIRST
