"""The operators on values.

Used by `language/expressions/closures` and `language/expressions/functions`.
"""

import math
from collections.abc import Callable
from typing import Final, TypeAlias

from rillflow.errors import ExpressionError
from rillflow.language.expressions.budget import Meter
from rillflow.language.expressions.patterns import Pattern, match_whole
from rillflow.language.expressions.texts import text_of
from rillflow.language.expressions.values import (
    Value,
    compare,
    equals,
    is_integer,
    is_number,
    shown_integer,
    type_of,
)
from rillflow.language.versions import AVIATOR_AND_JAYWAY_MEASURED

Binary: TypeAlias = Callable[[Meter, Value, Value], Value]
Unary: TypeAlias = Callable[[Meter, Value], Value]

_PRODUCTS_BITS: Final = 7  # this many products of words cost a step, as a power of two
_LONG_MASK: Final = (1 << 64) - 1


def add(meter: Meter, left: Value, right: Value) -> Value:
    """Add two numbers, or concatenate where one operand is a string."""
    if is_number(left) and is_number(right):
        return _number(meter, left + right)
    if isinstance(left, str) or isinstance(right, str):
        start, end = text_of(meter, left), text_of(meter, right)
        wide = not (start.isascii() and end.isascii())
        meter.make_text(len(start) + len(end), wide=wide)
        return start + end
    raise _refused("add", left, right)


def subtract(meter: Meter, left: Value, right: Value) -> Value:
    """Subtract two numbers."""
    _numbers("subtract", left, right)
    return _number(meter, left - right)


def multiply(meter: Meter, left: Value, right: Value) -> Value:
    """Multiply two numbers."""
    _numbers("multiply", left, right)
    if isinstance(left, int) and isinstance(right, int):
        meter.cost((left.bit_length() >> 6) * (right.bit_length() >> 6) >> _PRODUCTS_BITS)
    return _number(meter, left * right)


def divide(meter: Meter, left: Value, right: Value) -> Value:
    """Divide: two integers towards zero, otherwise as doubles, where x / 0.0 is infinite."""
    _numbers("divide", left, right)
    if isinstance(left, int) and isinstance(right, int):
        quotient = abs(meter.check_integer(left)) // abs(_divisor(right))
        return quotient if (left < 0) == (right < 0) else -quotient
    if right == 0:
        return math.nan if left == 0 or math.isnan(left) else _signed_infinity(left, right)
    return left / right


def remainder(meter: Meter, left: Value, right: Value) -> Value:
    """Return the remainder, which has the sign of the dividend."""
    _numbers("divide", left, right)
    if isinstance(left, int) and isinstance(right, int):
        rest = abs(meter.check_integer(left)) % abs(_divisor(right))
        return -rest if left < 0 else rest
    if right == 0 or not math.isfinite(left):
        return math.nan
    return math.fmod(left, right)


def power(meter: Meter, base: Value, exponent: Value) -> Value:
    """Raise; integers stay integers unless the exponent is negative."""
    _numbers("raise", base, exponent)
    if isinstance(base, float) or isinstance(exponent, float) or exponent < 0:
        return real_power(base, exponent)
    if base not in (-1, 0, 1):
        meter.check_integer(1 << min((base.bit_length() - 1) * exponent, 1 << 20))
    else:
        exponent = 2 - exponent % 2 if exponent else 0
    return meter.check_integer(base**exponent)


def real_power(base: float, exponent: float) -> float:
    """Raise doubles as Java's ``Math.pow`` does: without errors."""
    try:
        return math.pow(base, exponent)
    except OverflowError:
        return -math.inf if base < 0 and exponent % 2 == 1 else math.inf
    except ValueError:
        return math.inf if base == 0 else math.nan


def less(meter: Meter, left: Value, right: Value) -> bool:
    """Answer ``left < right``."""
    return compare(meter, left, right) < 0


def at_most(meter: Meter, left: Value, right: Value) -> bool:
    """Answer ``left <= right``."""
    return compare(meter, left, right) <= 0


def greater(meter: Meter, left: Value, right: Value) -> bool:
    """Answer ``left > right``."""
    return compare(meter, left, right) > 0


def at_least(meter: Meter, left: Value, right: Value) -> bool:
    """Answer ``left >= right``."""
    return compare(meter, left, right) >= 0


def differs(meter: Meter, left: Value, right: Value) -> bool:
    """Answer ``left != right``."""
    return not equals(meter, left, right)


def matches(meter: Meter, left: Value, right: Value) -> bool:
    """Answer ``text =~ /pattern/``: whether the whole text matches; nil never does."""
    if isinstance(left, str) and isinstance(right, Pattern):
        return match_whole(meter, left, right)
    if isinstance(left, Pattern) and isinstance(right, str):
        return match_whole(meter, right, left)
    is_nil = left is None and isinstance(right, Pattern)
    if is_nil and meter.language >= AVIATOR_AND_JAYWAY_MEASURED:
        return False
    raise _refused("match", left, right)


def bit_and(meter: Meter, left: Value, right: Value) -> int:
    """Answer ``left & right`` of integers."""
    return meter.check_integer(_integer(left) & _integer(right))


def bit_or(meter: Meter, left: Value, right: Value) -> int:
    """Answer ``left | right`` of integers."""
    return meter.check_integer(_integer(left) | _integer(right))


def bit_xor(meter: Meter, left: Value, right: Value) -> int:
    """Answer ``left ^ right`` of integers."""
    return meter.check_integer(_integer(left) ^ _integer(right))


def shift_left(meter: Meter, left: Value, right: Value) -> int:
    """Answer ``left << right``; the distance may not be negative."""
    value, distance = _integer(left), _distance(right)
    meter.check_integer(1 << min(value.bit_length() + distance, 1 << 20))
    return meter.check_integer(value << distance)


def shift_right(_meter: Meter, left: Value, right: Value) -> int:
    """Answer ``left >> right``; the distance may not be negative."""
    return _integer(left) >> _distance(right)


def shift_right_unsigned(_meter: Meter, left: Value, right: Value) -> int:
    """Answer ``left >>> right``: a negative number counts as its 64 bits."""
    value = _integer(left)
    return (value & _LONG_MASK if value < 0 else value) >> _distance(right)


def negative(_meter: Meter, value: Value) -> Value:
    """Answer ``-value`` of a number."""
    if not is_number(value):
        raise ExpressionError(f"cannot negate a {type_of(value)}")
    return -value


def bit_not(_meter: Meter, value: Value) -> int:
    """Answer ``~value`` of an integer."""
    return ~_integer(value)


def negation(_meter: Meter, value: Value) -> bool:
    """Answer ``!value`` of a boolean."""
    return not as_boolean(value)


def as_boolean(value: Value) -> bool:
    """Return the boolean.

    Raises:
        ExpressionError: It is none: there is no truth in other values.
    """
    if value is True or value is False:
        return bool(value)
    raise ExpressionError(f"expected a boolean and not a {type_of(value)}")


BINARY: Final[dict[str, Binary]] = {
    "+": add,
    "-": subtract,
    "*": multiply,
    "/": divide,
    "%": remainder,
    "**": power,
    "==": equals,
    "!=": differs,
    "=~": matches,
    "<": less,
    "<=": at_most,
    ">": greater,
    ">=": at_least,
    "&": bit_and,
    "|": bit_or,
    "^": bit_xor,
    "<<": shift_left,
    ">>": shift_right,
    ">>>": shift_right_unsigned,
}
UNARY: Final[dict[str, Unary]] = {"-": negative, "~": bit_not, "!": negation}


def _number(meter: Meter, value: Value) -> Value:
    return value if isinstance(value, float) else meter.check_integer(value)


def _numbers(what: str, left: Value, right: Value) -> None:
    if not (is_number(left) and is_number(right)):
        raise _refused(what, left, right)


def _refused(what: str, left: Value, right: Value) -> ExpressionError:
    return ExpressionError(f"cannot {what} a {type_of(left)} and a {type_of(right)}")


def _integer(value: Value) -> int:
    if is_integer(value):
        return int(value)
    raise ExpressionError(f"expected an integer and not a {type_of(value)}")


def _distance(value: Value) -> int:
    distance = _integer(value)
    if not 0 <= distance < 1 << 32:
        raise ExpressionError(f"cannot shift by {shown_integer(distance)} bits")
    return distance


def _divisor(value: int) -> int:
    if value == 0:
        raise ExpressionError("division by zero")
    return value


def _signed_infinity(dividend: float, divisor: float) -> float:
    return math.copysign(math.inf, dividend) * math.copysign(1, divisor)
