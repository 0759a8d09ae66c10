"""Functions that make predicates for ``filter`` and the like: ``seq.eq(3)``.

With a second argument, the predicate looks at that key of a map.

Used by `language/expressions/functions`.
"""

from collections.abc import Callable
from typing import Final

from rillflow.errors import ExpressionError
from rillflow.language.budget import CHARACTERS_PER_STEP
from rillflow.language.expressions.budget import Meter
from rillflow.language.expressions.functions.library import (
    Library,
    LibraryFunction,
    function_argument,
    string_argument,
    truth,
)
from rillflow.language.expressions.operators import BINARY
from rillflow.language.expressions.values import Callee, Value, property_of

PREDICATE_FUNCTIONS: Final = Library()
_declare: Final = PREDICATE_FUNCTIONS.function

_FRAMES: Final = 4
_CALL_STEPS: Final = 2  # predicates of predicates would be free otherwise
_COMPARISONS: Final = {
    "eq": "==", "neq": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
}  # fmt: skip


class Predicate(Callee):
    """A predicate of one value."""

    __slots__ = ("_test", "_title")

    def __init__(self, title: str, test: Callable[[Meter, Value], bool]) -> None:
        self._title = title
        self._test = test

    def call(self, meter: Meter, arguments: list[Value]) -> bool:
        """Answer for the only argument."""
        if len(arguments) != 1:
            raise ExpressionError(f"the predicate of {self._title} takes 1 argument")
        meter.cost(_CALL_STEPS)
        meter.enter(_FRAMES)
        answer = self._test(meter, arguments[0])
        meter.leave(_FRAMES)
        return answer


def _comparison(name: str, operator: str) -> LibraryFunction:
    title = f"seq.{name}"
    compare = BINARY[operator]

    def make(_meter: Meter, expected: Value, key: Value = None) -> Callee:
        def test(meter: Meter, value: Value) -> bool:
            return bool(compare(meter, _looked_at(meter, value, key, title), expected))

        return Predicate(title, test)

    return LibraryFunction(title, make)


PREDICATE_FUNCTIONS.functions += [_comparison(*pair) for pair in _COMPARISONS.items()]


@_declare("seq.nil")
def is_nil(_meter: Meter, key: Value = None) -> Callee:
    """Make the predicate "is nil"."""
    return Predicate(
        "seq.nil", lambda meter, value: _looked_at(meter, value, key, "seq.nil") is None
    )


@_declare("seq.exists")
def exists(_meter: Meter, key: Value = None) -> Callee:
    """Make the predicate "is not nil"."""
    return Predicate(
        "seq.exists", lambda meter, value: _looked_at(meter, value, key, "seq.exists") is not None
    )


@_declare("seq.true")
def is_true(_meter: Meter, key: Value = None) -> Callee:
    """Make the predicate "is true"."""
    return Predicate(
        "seq.true", lambda meter, value: _looked_at(meter, value, key, "seq.true") is True
    )


@_declare("seq.false")
def is_false(_meter: Meter, key: Value = None) -> Callee:
    """Make the predicate "is false"."""
    return Predicate(
        "seq.false", lambda meter, value: _looked_at(meter, value, key, "seq.false") is False
    )


@_declare("seq.and")
def all_of(_meter: Meter, *predicates: Value) -> Callee:
    """Make the predicate that holds where all of these hold."""
    parts = [function_argument(predicate, "seq.and") for predicate in predicates]
    return Predicate(
        "seq.and",
        lambda meter, value: all(truth(one.call(meter, [value]), "seq.and") for one in parts),
    )


@_declare("seq.or")
def any_of(_meter: Meter, *predicates: Value) -> Callee:
    """Make the predicate that holds where one of these holds."""
    parts = [function_argument(predicate, "seq.or") for predicate in predicates]
    return Predicate(
        "seq.or",
        lambda meter, value: any(truth(one.call(meter, [value]), "seq.or") for one in parts),
    )


def _looked_at(meter: Meter, value: Value, key: Value, title: str) -> Value:
    if key is None:
        return value
    name = string_argument(key, title)
    meter.cost(len(name) // CHARACTERS_PER_STEP)
    return property_of(value, name, "an element")
