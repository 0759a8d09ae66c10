"""Each operation of an expression is charged for the processor time that it takes.

The operations are those of the registries, each with every pair of values that are dear: so a
new one is held to the rule, too, without a word here.
"""

from collections.abc import Callable, Iterator
from copy import copy
from itertools import product
from typing import Any, Final

import pytest

from rillflow.language.expressions.budget import DEFAULT_BUDGET, Meter
from rillflow.language.expressions.functions import FUNCTIONS
from rillflow.language.expressions.functions.library import LibraryFunction
from rillflow.language.expressions.operands import MUTATORS
from rillflow.language.expressions.operators import BINARY, UNARY
from rillflow.language.expressions.values import Callee, ScriptSet
from rillflow.language.versions import CURRENT
from tests.price_values import SCRIPT_VALUES
from tests.pricing import MOST_LOOPS, Work, free_steps, price, quiet, small_budget, spent

VALUES: Final = [(what, make()) for what, make in SCRIPT_VALUES.items()]
EQUAL: Final = {what: make() for what, make in SCRIPT_VALUES.items()}
"""Values that are equal to these, and not the same objects."""
ELEMENT: Final = SCRIPT_VALUES["a map with a long key"]()
THIRDS: Final = ("a number", "a replacement", "a long text", "a wide list", "a long integer")


def copied(value: Any) -> Any:
    """Return a value that may be changed in place."""
    if isinstance(value, ScriptSet):
        return copy(value)
    return value.copy() if isinstance(value, list | dict) else value


def _called(meter: Meter, made: object) -> None:
    """Call a function that was made, for it is charged when it is called."""
    if isinstance(made, Callee):
        made.call(meter, [ELEMENT] * (2 if isinstance(made, LibraryFunction) else 1))


def charged(call: Callable[..., object], values: list[Any]) -> Work:
    """Return work that tells what it was charged."""

    def work() -> int:
        total = small_budget()
        meter = Meter({}, 0, DEFAULT_BUDGET, CURRENT, total)
        free = free_steps(lambda: _called(meter, call(meter, *values)))
        meter.settle()
        return free + spent(total)

    return work


def arguments(least: int, most: int) -> Iterator[tuple[str, list[Any]]]:
    """Yield arguments of every number that is taken, with what they are."""
    if least <= 1 <= most:
        yield from ((what, [value]) for what, value in VALUES)
    if least <= 2 <= most:
        for (what, value), other in product(VALUES, EQUAL):
            yield f"{what}, {other}", [value, EQUAL[other]]
    if least <= 3 <= most:
        for (what, value), other, third in product(VALUES, EQUAL, THIRDS):
            yield f"{what}, {other}, {third}", [value, EQUAL[other], EQUAL[third]]
    if most > 3:
        for what, value in VALUES:
            yield f"many of {what}", [value, EQUAL[what]] * 10


def too_dear(call: Callable[..., object], least: int, most: int, *, changes: bool) -> str | None:
    """Return the first arguments that a function takes too long for."""
    with quiet():
        for what, values in arguments(least, most):

            def prepare(values: list[Any] = values) -> Work:
                return charged(call, list(map(copied, values)) if changes else values)

            times = price(prepare)
            if times >= MOST_LOOPS:
                return f"{what}: {times:.0f}"
    return None


@pytest.mark.one_in(20)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_function_is_charged_for_its_time(name: str) -> None:
    function = FUNCTIONS[name]
    least, most = function.least, function.most
    assert least <= 4
    assert not too_dear(function.body, least, most, changes=name in MUTATORS)


@pytest.mark.one_in(8)
@pytest.mark.parametrize("symbol", BINARY)
def test_each_operator_of_two_values_is_charged_for_its_time(symbol: str) -> None:
    assert not too_dear(BINARY[symbol], 2, 2, changes=False)


@pytest.mark.parametrize("symbol", UNARY)
def test_each_operator_of_one_value_is_charged_for_its_time(symbol: str) -> None:
    assert not too_dear(UNARY[symbol], 1, 1, changes=False)


def test_what_is_charged_for_less_than_it_does_is_found() -> None:
    def free_of_charge(_: Meter, values: list[int]) -> int:
        return sum(values)

    numbers = list(range(100_000))
    with quiet():
        times = price(lambda: charged(free_of_charge, [numbers]), patience_s=0.05)
    assert times >= MOST_LOOPS
