"""The values of a script: types, equality, order, elements.

A value is nil (None), a boolean, an integer (exact, within the budget), a double, a string, a list,
a map (dict), a ``ScriptSet``, a range, a pattern or a function. Lists, maps and sets are shared by
reference, as in AviatorScript.

Used by `language/expressions`, and in it by `closures` and `functions`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeAlias

from rillflow.errors import ExpressionError
from rillflow.language.budget import REFERENCE_BYTES
from rillflow.language.expressions.budget import (
    ELEMENT_BYTES,
    ELEMENTS_PER_STEP,
    Meter,
)
from rillflow.language.expressions.lexer import excerpt
from rillflow.language.expressions.patterns import Pattern
from rillflow.language.text.text_order import text_difference
from rillflow.language.versions import AVIATOR_AND_JAYWAY_MEASURED, COSTS_CHARGED

Value: TypeAlias = Any

LONG_BITS: Final = 63
_LEAST_LONG: Final = -(1 << LONG_BITS)
_GREATEST_LONG: Final = (1 << LONG_BITS) - 1
#: Python hashes larger integers modulo 2**61 - 1, so a script could make keys collide.
HASH_BITS: Final = 60
_MAP_ENTRY_BYTES: Final = 192  # of a map, with a key and a value
_IDENTITY_BYTES: Final = 128  # of the key for one value in a set


class Callee(ABC):
    """A function: of the script, of the library, or made by a library function."""

    __slots__ = ()

    @abstractmethod
    def call(self, meter: Meter, arguments: list[Value]) -> Value:
        """Call it with evaluated arguments.

        Raises:
            ExpressionError: It fails, or their number is wrong.
            BudgetExceededError: The budget is used up.
        """


class ScriptSet:
    """A set that keeps the order of insertion and may hold any value."""

    __slots__ = ("_weight", "members")

    def __init__(self) -> None:
        self.members: dict[object, Value] = {}
        self._weight = 0

    def __len__(self) -> int:
        return len(self.members)

    def __iter__(self) -> Iterator[Value]:
        return iter(self.members.values())

    def add(self, meter: Meter, value: Value) -> None:
        """Add the value, unless one that is equal to it is there."""
        before = meter.remaining
        self.members.setdefault(identity_of(meter, value), value)
        self._weight += before - meter.remaining

    def remove(self, meter: Meter, value: Value) -> None:
        """Remove the value, if it is there."""
        self.members.pop(identity_of(meter, value), None)

    def has(self, meter: Meter, value: Value) -> bool:
        """Tell whether a value equal to this one is there."""
        return identity_of(meter, value) in self.members

    def identity(self, meter: Meter) -> frozenset[object]:
        """Return something hashable that equal sets share."""
        meter.work(self._weight)
        meter.take_memory(len(self.members) * ELEMENT_BYTES)
        return frozenset(self.members)


def type_of(value: Value) -> str:
    """Return the name of the value's type, as ``type(x)`` gives it."""
    if isinstance(value, int) and not isinstance(value, bool):
        return "long" if value.bit_length() <= LONG_BITS else "bigint"
    for kind, name in _TYPE_NAMES:
        if isinstance(value, kind):
            return name
    return "nil" if value is None else "function"


_TYPE_NAMES: Final[tuple[tuple[type, str], ...]] = (
    (bool, "boolean"),
    (float, "double"),
    (str, "string"),
    (list, "list"),
    (dict, "map"),
    (ScriptSet, "set"),
    (range, "range"),
    (Pattern, "pattern"),
)


def is_number(value: Value) -> bool:
    """Tell whether the value is an integer or a double."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_integer(value: Value) -> bool:
    """Tell whether the value is an integer; a boolean is not."""
    return isinstance(value, int) and not isinstance(value, bool)


def shown_integer(value: int) -> str:
    """Return an integer for a message; writing a long one takes quadratic time."""
    bits = value.bit_length()
    return str(value) if bits <= LONG_BITS + 1 else f"(an integer of {bits} bits)"


def as_double(number: float) -> float:
    """Return a number as a double; an integer too large for one is infinite, as in Java."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def as_long(number: float) -> int:
    """Return a number without its fraction, within 64 bits; NaN is 0, as in Java."""
    if isinstance(number, float) and not math.isfinite(number):
        return 0 if math.isnan(number) else _GREATEST_LONG if number > 0 else _LEAST_LONG
    return max(_LEAST_LONG, min(int(number), _GREATEST_LONG))


def equals(meter: Meter, left: Value, right: Value, depth: int = 0) -> bool:
    """Answer ``left == right``: numbers by value, lists and maps by content.

    Values of different types are different, never an error.
    """
    if left is right:
        return not (isinstance(left, float) and math.isnan(left))
    kind = type(left)
    if kind is not type(right):
        return is_number(left) and is_number(right) and bool(left == right)
    if kind is list:
        return _equal_lists(meter, left, right, depth)
    if kind is dict:
        return _equal_maps(meter, left, right, depth)
    if kind is ScriptSet:
        return bool(left.identity(meter) == right.identity(meter))
    if kind is str:
        meter.read_text(min(len(left), len(right)))
    return bool(left == right)


def _equal_lists(meter: Meter, left: Value, right: Value, depth: int) -> bool:
    meter.check_nesting(depth)
    if len(left) != len(right):
        return False
    for one, other in zip(left, right, strict=True):
        meter.work(1)
        if not equals(meter, one, other, depth + 1):
            return False
    return True


def _equal_maps(meter: Meter, left: Value, right: Value, depth: int) -> bool:
    meter.check_nesting(depth)
    meter.work(len(left) // ELEMENTS_PER_STEP)
    if meter.language >= COSTS_CHARGED:
        meter.read_text(sum(len(key) for key in left if isinstance(key, str)))
    if left.keys() != right.keys():
        return False
    for key, value in left.items():
        meter.work(1)
        if not equals(meter, value, right[key], depth + 1):
            return False
    return True


def compare(meter: Meter, left: Value, right: Value) -> int:
    """Order two values: negative, 0 or positive. Nil is less than anything.

    Raises:
        ExpressionError: They have no order, as a string and a number.
    """
    if left is None or right is None:
        return (left is not None) - (right is not None)
    numbers = is_number(left) and is_number(right)
    same = type(left) is type(right) and isinstance(left, str | bool)
    if numbers or same:
        if isinstance(left, str):
            meter.read_text(min(len(left), len(right)))
            is_plain = left.isascii() or right.isascii()
            if not is_plain and meter.language >= AVIATOR_AND_JAYWAY_MEASURED:
                difference = text_difference(left, right)
                return int(difference > 0) - int(difference < 0)
        return int(left > right) - int(left < right)
    if equals(meter, left, right):
        return 0
    raise ExpressionError(f"cannot compare a {type_of(left)} with a {type_of(right)}")


def identity_of(meter: Meter, value: Value, depth: int = 0) -> object:
    """Return something hashable that equal values share, for sets."""
    meter.check_nesting(depth)
    meter.work(2)
    meter.take_memory(_IDENTITY_BYTES)
    if isinstance(value, list | range):
        return "list", *(identity_of(meter, item, depth + 1) for item in value)
    if isinstance(value, ScriptSet):
        return "set", value.identity(meter)
    if isinstance(value, dict):
        pairs = ((key, identity_of(meter, item, depth + 1)) for key, item in value.items())
        return "map", frozenset(pairs)
    if isinstance(value, str):
        meter.read_text(len(value))
    if is_integer(value) and value.bit_length() >= HASH_BITS:
        return "integer", str(meter.check_integer(value))
    return "value", isinstance(value, bool), value  # the hash of a string cannot be predicted


def property_of(value: Value, key: str, owner: str) -> Value:
    """Read ``value.key`` of a map; a missing key is nil.

    Raises:
        ExpressionError: The value is no map, or nil.
    """
    if isinstance(value, dict):
        return value.get(key)
    raise ExpressionError(f"cannot read '{excerpt(key)}' of {owner}, which is a {type_of(value)}")


def member_of(value: Value, key: str | int, owner: str) -> Value:
    """Read one part of ``#a.b[1].c``: a key of a map, an index of a list or text.

    Raises:
        ExpressionError: The value has no such part.
    """
    if isinstance(key, str):
        return property_of(value, key, owner)
    if not isinstance(value, list | str):
        raise ExpressionError(f"cannot read [{key}] of {owner}, which is a {type_of(value)}")
    if key >= len(value):
        raise ExpressionError(f"index {key} is outside a {type_of(value)} of {len(value)}")
    return value[key]


def has_elements(value: Value) -> bool:
    """Tell whether a loop can iterate over the value; nil counts, as a value without elements."""
    return value is None or isinstance(value, list | range | str | dict | ScriptSet)


def elements_of(meter: Meter, value: Value, what: str) -> Iterable[Value]:
    """Return what a loop over the value goes through.

    A map gives entries with ``key`` and ``value``, a string its characters, nil nothing.
    Maps and sets may change meanwhile; the loop goes through what they were.

    Raises:
        ExpressionError: There is nothing to go through.
    """
    if isinstance(value, list | range | str):
        return value
    if value is None:
        return ()
    if isinstance(value, dict):
        meter.work(len(value) // ELEMENTS_PER_STEP)
        meter.take_memory(len(value) * ELEMENT_BYTES)
        return _entries(meter, tuple(value.items()))
    if isinstance(value, ScriptSet):
        meter.work(len(value) // ELEMENTS_PER_STEP)
        meter.take_memory(len(value) * REFERENCE_BYTES)
        return tuple(value)
    raise ExpressionError(f"{what} needs a list, map, set or string, not a {type_of(value)}")


def _entries(meter: Meter, items: Iterable[tuple[Value, Value]]) -> Iterator[Value]:
    for key, item in items:
        meter.take_memory(_MAP_ENTRY_BYTES)
        yield {"key": key, "value": item}


def size_of(value: Value, what: str) -> int:
    """Return the number of elements; 0 for nil.

    Raises:
        ExpressionError: The value has no elements.
    """
    if isinstance(value, list | ScriptSet | str | dict):
        return len(value)
    if isinstance(value, range):
        return max(0, (value.stop - value.start + value.step - _sign(value.step)) // value.step)
    if value is None:
        return 0
    raise ExpressionError(f"{what} needs a list, map, set or string, not a {type_of(value)}")


def _sign(value: int) -> int:
    return 1 if value > 0 else -1
