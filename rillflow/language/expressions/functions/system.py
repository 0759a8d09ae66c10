"""Functions without a namespace: conversions, types, order and random numbers.

Used by `language/expressions/functions`.
"""

import math
import re
from typing import Final

from rillflow.errors import ExpressionError
from rillflow.language.budget import LONGEST_NUMBER
from rillflow.language.expressions.budget import Meter
from rillflow.language.expressions.functions.library import (
    Library,
    function_argument,
    integer_argument,
    truth,
)
from rillflow.language.expressions.random_numbers import RandomNumbers
from rillflow.language.expressions.texts import parse_double, text_of
from rillflow.language.expressions.values import (
    Callee,
    Value,
    as_long,
    compare,
    is_number,
    type_of,
)
from rillflow.language.text.text_order import text_difference
from rillflow.language.versions import AVIATOR_AND_JAYWAY_MEASURED

SYSTEM_FUNCTIONS: Final = Library()
_declare: Final = SYSTEM_FUNCTIONS.function

_FRAMES: Final = 2
_CALL_STEPS: Final = 2
_LONG: Final = re.compile(rf"[+-]?[0-9]{{1,{LONGEST_NUMBER}}}")
_LONGEST: Final = LONGEST_NUMBER + 1  # with a sign


@_declare("str")
def to_text(meter: Meter, value: Value) -> str:
    """Return the text of any value, as in a concatenation."""
    text = text_of(meter, value)
    meter.make_text(len(text), wide=not text.isascii())
    return text


@_declare("long")
def to_long(meter: Meter, value: Value) -> int:
    """Return a number without its fraction, the number a string spells, or 0 or 1.

    Of a double, as in Java, NaN gives 0, and one too large for 64 bits the nearest integer
    that they hold.
    """
    if isinstance(value, float) and meter.language >= AVIATOR_AND_JAYWAY_MEASURED:
        return as_long(value)
    return _without_fraction(meter, value)


def _without_fraction(meter: Meter, value: Value) -> int:
    if isinstance(value, float) and not math.isfinite(value):
        raise ExpressionError("long needs a finite number")
    if isinstance(value, int | float):
        return meter.check_integer(int(value))
    if isinstance(value, str) and len(value) <= _LONGEST and _LONG.fullmatch(value):
        meter.read_text(len(value) * 4)
        return meter.check_integer(int(value))
    raise ExpressionError(f"long cannot read {_shown(meter, value)}")


@_declare("bigint")
def to_big_integer(meter: Meter, value: Value) -> int:
    """Return a number without its fraction, or the number a string spells, exactly."""
    return _without_fraction(meter, value)


@_declare("double")
def to_double(meter: Meter, value: Value) -> float:
    """Return a number or boolean as a double, or the number a string spells."""
    if isinstance(value, int | float):
        return float(value)
    number = parse_double(meter, value) if isinstance(value, str) else None
    if number is None:
        raise ExpressionError(f"double cannot read {_shown(meter, value)}")
    return number


@_declare("decimal")
def to_decimal(meter: Meter, value: Value) -> float:
    """Return what ``double`` returns: JSON has no other fractions."""
    return to_double(meter, value)


@_declare("boolean")
def to_boolean(_meter: Meter, value: Value) -> bool:
    """Return a boolean itself, false for nil, and true for anything else."""
    return bool(value) if isinstance(value, bool) else value is not None


@_declare("type")
def name_of_type(_meter: Meter, value: Value) -> str:
    """Return the name of the value's type."""
    return type_of(value)


@_declare("identity")
def identity(_meter: Meter, value: Value) -> Value:
    """Return the value."""
    return value


@_declare("min")
def least(meter: Meter, *values: Value) -> Value:
    """Return the least of the values; nil is less than anything."""
    found = values[0] if values else None
    for value in values[1:]:
        meter.work(1)
        found = value if compare(meter, value, found) < 0 else found
    return found


@_declare("max")
def greatest(meter: Meter, *values: Value) -> Value:
    """Return the greatest of the values."""
    found = values[0] if values else None
    for value in values[1:]:
        meter.work(1)
        found = value if compare(meter, value, found) > 0 else found
    return found


@_declare("cmp")
def order(meter: Meter, left: Value, right: Value) -> int:
    """Return a number below, equal to or above 0, as the first value is less or greater.

    For two strings it is the difference that Java's ``compareTo`` gives.
    """
    is_text = isinstance(left, str) and isinstance(right, str)
    if is_text and meter.language >= AVIATOR_AND_JAYWAY_MEASURED:
        meter.read_text(len(left) + len(right))
        return text_difference(left, right)
    return compare(meter, left, right)


class _Order(Callee):
    """The comparator of a predicate ``before(a, b)``."""

    __slots__ = ("_before",)

    def __init__(self, before: Callee) -> None:
        self._before = before

    def call(self, meter: Meter, arguments: list[Value]) -> int:
        """Answer -1, 0 or 1."""
        meter.cost(_CALL_STEPS)
        meter.enter(_FRAMES)
        before = truth(self._before.call(meter, arguments), "comparator")
        after = not before and truth(self._before.call(meter, arguments[::-1]), "comparator")
        meter.leave(_FRAMES)
        return after - before


@_declare("comparator")
def comparator(_meter: Meter, before: Value) -> Callee:
    """Turn a predicate "the first comes before the second" into a comparator."""
    return _Order(function_argument(before, "comparator"))


@_declare("rand")
def random_number(meter: Meter, bound: Value = None) -> int | float:
    """Return a double in [0, 1), or an integer in [0, bound).

    The numbers follow from the seed of the evaluation.
    """
    if meter.random is None:
        meter.random = RandomNumbers(meter.seed)
    if bound is None:
        return meter.random.fraction()
    limit = integer_argument(bound, "rand")
    if limit <= 0:
        raise ExpressionError("rand needs a bound above 0")
    return meter.random.below(meter.check_integer(limit))


def _shown(meter: Meter, value: Value) -> str:
    if not (value is None or is_number(value) or isinstance(value, str)):
        return f"a {type_of(value)}"
    text = text_of(meter, value)
    return repr(text) if len(text) <= 40 else f"a string of {len(text)} characters"
