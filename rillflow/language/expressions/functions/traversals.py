"""Functions that call a function for each element: ``map``, ``filter``, ``reduce``, ``sort``.

Used by `language/expressions/functions`.
"""

from collections.abc import Callable, Iterator
from functools import cmp_to_key
from typing import Final

from rillflow.errors import ExpressionError
from rillflow.language.expressions.budget import Meter
from rillflow.language.expressions.functions.library import (
    Library,
    function_argument,
    integer_argument,
    truth,
)
from rillflow.language.expressions.texts import key_of
from rillflow.language.expressions.values import (
    ScriptSet,
    Value,
    compare,
    elements_of,
    is_integer,
    size_of,
)
from rillflow.language.text.text_order import utf16_key
from rillflow.language.versions import AVIATOR_AND_JAYWAY_MEASURED, MEMORY_CHARGED

TRAVERSAL_FUNCTIONS: Final = Library()
_declare: Final = TRAVERSAL_FUNCTIONS.function

_COMPARISONS_PER_STEP: Final = 8


@_declare("map")
def mapped(meter: Meter, values: Value, function: Value) -> list[Value] | None:
    """Return a list of what the function answers for each element; nil for nil."""
    call = function_argument(function, "map").call
    if _is_nil(meter, values):
        return None
    return _made(meter, (call(meter, [value]) for value in _each(meter, values, "map")))


@_declare("filter")
def filtered(meter: Meter, values: Value, predicate: Value) -> Value:
    """Return the elements that the predicate holds for, as a list, map or set; nil for nil."""
    if _is_nil(meter, values):
        function_argument(predicate, "filter")
        return None
    chosen = (value for value in _each(meter, values, "filter")
              if _holds(meter, predicate, value, "filter"))  # fmt: skip
    found = _made(meter, chosen) if meter.language >= MEMORY_CHARGED else _charged(meter, chosen)
    if isinstance(values, dict):
        return {entry["key"]: entry["value"] for entry in found}
    if not isinstance(values, ScriptSet):
        return found
    made = ScriptSet()
    for value in found:
        made.add(meter, value)
    return made


@_declare("reduce")
def reduced(meter: Meter, values: Value, function: Value, start: Value) -> Value:
    """Combine all elements: the function takes the result so far and an element."""
    call = function_argument(function, "reduce").call
    result = start
    for value in _each(meter, values, "reduce"):
        result = call(meter, [result, value])
    return result


@_declare("seq.some")
def some(meter: Meter, values: Value, predicate: Value) -> Value:
    """Return the first element that the predicate holds for, or nil."""
    for value in _each(meter, values, "seq.some"):
        if _holds(meter, predicate, value, "seq.some"):
            return value
    return None


@_declare("seq.every")
def every(meter: Meter, values: Value, predicate: Value) -> bool:
    """Tell whether the predicate holds for all elements."""
    elements = _each(meter, values, "seq.every")
    return all(_holds(meter, predicate, value, "seq.every") for value in elements)


@_declare("seq.not_any")
def not_any(meter: Meter, values: Value, predicate: Value) -> bool:
    """Tell whether the predicate holds for no element."""
    elements = _each(meter, values, "seq.not_any")
    return not any(_holds(meter, predicate, value, "seq.not_any") for value in elements)


@_declare("seq.min")
def least_element(meter: Meter, values: Value) -> Value:
    """Return the least element; nil is less than anything, and the answer for none."""
    found = None
    for index, value in enumerate(_each(meter, values, "seq.min")):
        found = value if index == 0 or compare(meter, value, found) < 0 else found
    return found


@_declare("seq.max")
def greatest_element(meter: Meter, values: Value) -> Value:
    """Return the greatest element, or nil where there is none."""
    found = None
    for index, value in enumerate(_each(meter, values, "seq.max")):
        found = value if index == 0 or compare(meter, value, found) > 0 else found
    return found


@_declare("sort")
def sort(meter: Meter, values: Value, comparator: Value = None) -> list[Value] | None:
    """Return a sorted list; a comparator answers below 0, 0 or above 0 for two elements.

    Nil gives nil.
    """
    if _is_nil(meter, values):
        return None
    size = size_of(values, "sort")
    meter.make_collection(size)
    found = list(elements_of(meter, values, "sort"))
    if comparator is not None:
        call = function_argument(comparator, "sort").call
        return sorted(found, key=cmp_to_key(lambda a, b: _ordered(meter, call, a, b)))
    kinds = set(map(type, found))
    if kinds in ({int}, {float}, {str}):
        meter.work(size * size.bit_length() // _COMPARISONS_PER_STEP)
        if kinds == {str}:
            meter.read_text(sum(map(len, found)) * size.bit_length())
            if meter.language >= AVIATOR_AND_JAYWAY_MEASURED and not all(map(str.isascii, found)):
                return sorted(found, key=utf16_key)
        return sorted(found)
    return sorted(found, key=cmp_to_key(lambda a, b: _counted(meter, a, b)))


@_declare("group_by")
def group_by(meter: Meter, values: Value, function: Value) -> dict[Value, list[Value]]:
    """Return a map from what the function answers to the elements it answers it for."""
    call = function_argument(function, "group_by").call
    groups: dict[Value, list[Value]] = {}
    for value in _each(meter, values, "group_by"):
        meter.make_elements(2)
        meter.check_size(len(groups) + 1)
        groups.setdefault(key_of(meter, call(meter, [value]), len(groups)), []).append(value)
    return groups


@_declare("repeatedly")
def repeatedly(meter: Meter, number: Value, function: Value) -> list[Value]:
    """Return a list of what the function answers when it is called a number of times."""
    call = function_argument(function, "repeatedly").call
    times = integer_argument(number, "repeatedly")
    return _made(meter, (call(meter, []) for _ in _each(meter, range(times), "repeatedly")))


def _is_nil(meter: Meter, values: Value) -> bool:
    return values is None and meter.language >= AVIATOR_AND_JAYWAY_MEASURED


def _each(meter: Meter, values: Value, what: str) -> Iterator[Value]:
    """Yield the elements; a list that grows while it is traversed is an error."""
    size = len(values) if isinstance(values, list) else 0
    for value in elements_of(meter, values, what):
        meter.work(2)
        yield value
        if size and len(values) != size:
            raise ExpressionError(f"{what} needs elements that do not change under it")


def _made(meter: Meter, values: Iterator[Value]) -> list[Value]:
    made: list[Value] = []
    for value in values:
        meter.check_size(len(made) + 1)
        meter.make_elements(1)
        made.append(value)
    return made


def _charged(meter: Meter, values: Iterator[Value]) -> list[Value]:
    """Make a list and charge it afterwards, as before the version ``MEMORY_CHARGED``."""
    made = list(values)
    meter.make_collection(len(made))
    return made


def _holds(meter: Meter, predicate: Value, value: Value, what: str) -> bool:
    return truth(function_argument(predicate, what).call(meter, [value]), what)


def _ordered(
    meter: Meter, call: Callable[[Meter, list[Value]], Value], left: Value, right: Value
) -> int:
    meter.cost(2)
    answer = call(meter, [left, right])
    if is_integer(answer):
        return int(answer)
    raise ExpressionError("the comparator of sort must answer an integer")


def _counted(meter: Meter, left: Value, right: Value) -> int:
    meter.work(2)
    return compare(meter, left, right)
