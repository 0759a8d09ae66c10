"""The namespace ``math``: doubles, except for ``abs`` and ``round``, as in AviatorScript.

Used by `language/expressions/functions`.
"""

import math
from collections.abc import Callable
from typing import Final

from rillflow.language.expressions.budget import Meter
from rillflow.language.expressions.functions.library import (
    Library,
    LibraryFunction,
    number_argument,
)
from rillflow.language.expressions.operators import real_power
from rillflow.language.expressions.values import Value, as_double, as_long
from rillflow.language.versions import AVIATOR_AND_JAYWAY_MEASURED

MATHEMATICAL_FUNCTIONS: Final = Library()
_declare: Final = MATHEMATICAL_FUNCTIONS.function


@_declare("math.abs")
def absolute(_meter: Meter, value: Value) -> int | float:
    """Return the value without its sign; an integer stays one."""
    return abs(number_argument(value, "math.abs"))


@_declare("math.pow")
def raised(_meter: Meter, base: Value, exponent: Value) -> float:
    """Return a power as a double."""
    return real_power(number_argument(base, "math.pow"), number_argument(exponent, "math.pow"))


@_declare("math.round")
def rounded(meter: Meter, value: Value) -> int | float:
    """Return the nearest integer as Java's ``Math.round`` does.

    Halves go up, NaN is 0, and what no 64 bits hold is the nearest integer they do hold.
    """
    number = as_double(number_argument(value, "math.round"))
    if meter.language < AVIATOR_AND_JAYWAY_MEASURED:
        return float(_nearest(number)) if math.isfinite(number) else number
    return as_long(_nearest(number) if math.isfinite(number) else number)


def _nearest(number: float) -> int:
    below = math.floor(number)
    return below + (number - below >= 0.5)


@_declare("math.floor")
def rounded_down(_meter: Meter, value: Value) -> float:
    """Return the greatest whole number that is not greater."""
    number = float(number_argument(value, "math.floor"))
    return float(math.floor(number)) if math.isfinite(number) else number


@_declare("math.ceil")
def rounded_up(_meter: Meter, value: Value) -> float:
    """Return the least whole number that is not less."""
    number = float(number_argument(value, "math.ceil"))
    return float(math.ceil(number)) if math.isfinite(number) else number


@_declare("math.log")
def logarithm(_meter: Meter, value: Value) -> float:
    """Return the natural logarithm."""
    return _logarithm(math.log, number_argument(value, "math.log"))


@_declare("math.log10")
def decimal_logarithm(_meter: Meter, value: Value) -> float:
    """Return the logarithm to the base 10."""
    return _logarithm(math.log10, number_argument(value, "math.log10"))


def _logarithm(function: Callable[[float], float], value: float) -> float:
    return -math.inf if value == 0 else _real(function, value)


def _real(function: Callable[[float], float], value: float) -> float:
    """Apply the function as Java does: outside its domain it is NaN, never an error."""
    try:
        return function(float(value))
    except ValueError:
        return math.nan


def _of_one_number(name: str, function: Callable[[float], float]) -> LibraryFunction:
    title = f"math.{name}"

    def body(_meter: Meter, value: Value) -> float:
        return _real(function, number_argument(value, title))

    return LibraryFunction(title, body)


MATHEMATICAL_FUNCTIONS.functions += [
    _of_one_number("sqrt", math.sqrt),
    _of_one_number("sin", math.sin),
    _of_one_number("cos", math.cos),
    _of_one_number("tan", math.tan),
    _of_one_number("asin", math.asin),
    _of_one_number("acos", math.acos),
    _of_one_number("atan", math.atan),
]
