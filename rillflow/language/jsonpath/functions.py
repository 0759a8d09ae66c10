"""The functions at the end of paths: ``.length()``, ``.sum()``, ``.concat("a")`` (spec 2.8).

Arithmetic gives doubles; the deviation is that of a whole population. Functions use only the
numbers of a list, or only its strings (``concat``), and their arguments.

Used by `language/jsonpath/compiler.py`.
"""

import math
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Final, TypeAlias

from rillflow.errors import PathEvaluationError, PathFunctionError
from rillflow.jsontypes import JsonValue
from rillflow.language.budget import CHARACTERS_PER_STEP, WIDE_CHARACTER_BYTES, Budget
from rillflow.language.jsonpath.comparisons import is_number, text_of_number
from rillflow.language.jsonpath.steps import PathFunction, Run

ArgumentValue: TypeAlias = Callable[[Run], JsonValue]
_Function: TypeAlias = Callable[[JsonValue, list[JsonValue], Budget], JsonValue]

MAX_TEXT_CHARS: Final = 1_000_000
_PATH_STEPS: Final = 2
_BYTES_PER_VALUE: Final = 24  # a number for a computation, or two references


def path_function(name: str, arguments: tuple[ArgumentValue, ...]) -> PathFunction:
    """Bind a function to its arguments; an unknown name fails when it is called."""
    function = FUNCTIONS.get(name)

    def call(value: JsonValue, run: Run) -> JsonValue:
        if function is None:
            raise PathEvaluationError(f"function {name} does not exist")
        values = [argument(run) for argument in arguments]
        read = sum(len(each) for each in (value, *values) if isinstance(each, dict | list))
        run.budget.spend(read)
        run.budget.cost(len(values))
        run.budget.make(read * _BYTES_PER_VALUE)
        return function(value, values, run.budget)

    return call


def length_function(count: Callable[[JsonValue, Run], int | None]) -> PathFunction:
    """Make ``length`` of a path: the number of values below it, else that of the value."""

    def call(value: JsonValue, run: Run) -> JsonValue:
        run.budget.cost(_PATH_STEPS)
        counted = count(value, run)
        return _length(value, [], run.budget) if counted is None else counted

    return call


def _length(value: JsonValue, arguments: list[JsonValue], budget: Budget) -> JsonValue:
    del arguments, budget
    return len(value) if isinstance(value, dict | list) else None


def _keys(value: JsonValue, arguments: list[JsonValue], budget: Budget) -> JsonValue:
    del arguments, budget
    return list(value) if isinstance(value, dict) else None


def _append(value: JsonValue, arguments: list[JsonValue], budget: Budget) -> JsonValue:
    del budget
    return [*value, *arguments] if isinstance(value, list) else value


def _concat(value: JsonValue, arguments: list[JsonValue], budget: Budget) -> JsonValue:
    own = (each for each in value if isinstance(each, str)) if isinstance(value, list) else ()
    texts: list[str] = []
    length = 0
    others = (_text(each, budget) for each in _flat(arguments))
    for text in chain(own, others):
        length += len(text)
        if length > MAX_TEXT_CHARS:
            raise PathFunctionError(f"concat makes more than {MAX_TEXT_CHARS} characters")
        texts.append(text)
    budget.cost(length // CHARACTERS_PER_STEP)
    budget.cost_memory(length * WIDE_CHARACTER_BYTES)
    return "".join(texts)


def _text(value: JsonValue, budget: Budget) -> str:
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, dict | list):
        return ""
    return str(value).lower() if isinstance(value, bool) else text_of_number(value, budget)


def _flat(values: list[JsonValue]) -> Iterator[JsonValue]:
    for value in values:
        if isinstance(value, list):
            yield from value
        else:
            yield value


def _numeric(compute: Callable[[list[float]], float]) -> _Function:
    def aggregate(value: JsonValue, arguments: list[JsonValue], budget: Budget) -> JsonValue:
        del budget
        own = value if isinstance(value, list) else []
        try:
            numbers = [
                float(each)
                for each in [*own, *_flat(arguments)]
                if isinstance(each, int | float) and is_number(each)
            ]
            result = compute(numbers) if numbers else math.nan
        except OverflowError:
            result = math.inf
        if not math.isfinite(result):
            raise PathFunctionError("no numbers to compute with, or too large ones")
        return result

    return aggregate


def _mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers)


def _deviation(numbers: list[float]) -> float:
    squares = sum(number * number for number in numbers)
    total, count = sum(numbers), len(numbers)
    return math.sqrt(max(0.0, squares / count - total * total / count / count))


def _element(value: JsonValue, index: int) -> JsonValue:
    """Return an element; as in Jayway a negative index never reaches the first one."""
    if not isinstance(value, list):
        raise PathFunctionError("first, last and index need a list")
    position = index if index >= 0 else len(value) + index
    if position >= len(value) or position < 0 or (index < 0 and position == 0):
        raise PathFunctionError(f"no element {index} in a list of {len(value)}")
    return value[position]


def _index(value: JsonValue, arguments: list[JsonValue], budget: Budget) -> JsonValue:
    del budget
    numbers = [each for each in _flat(arguments) if isinstance(each, int | float)]
    if not numbers:
        raise PathFunctionError("index needs a number")
    return _element(value, int(numbers[0]))


FUNCTIONS: Final[dict[str, _Function]] = {
    "length": _length,
    "size": _length,
    "keys": _keys,
    "append": _append,
    "concat": _concat,
    "sum": _numeric(sum),
    "min": _numeric(min),
    "max": _numeric(max),
    "avg": _numeric(_mean),
    "stddev": _numeric(_deviation),
    "first": lambda value, *_: _element(value, 0),
    "last": lambda value, *_: _element(value, -1),
    "index": _index,
}
