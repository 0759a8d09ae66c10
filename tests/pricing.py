"""How much processor time something takes for each step that it is charged.

Time is that of the thread, so that what else the machine does counts little, and it is
compared with the time of a loop of the language that is measured in the same while: a machine
that is slow in that while is slow for both. What seems too dear is measured again and again, for
longer than others disturb it without a pause, and the least of its times counts.
"""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from typing import Final

from rillflow.errors import RillflowError
from rillflow.language.budget import TURN_MAX_BYTES, TURN_MAX_STEPS, TotalBudget
from rillflow.language.expressions import compile_expression

MOST_LOOPS: Final = 40.0
"""How many times as long as a step of a plain loop a step of anything else may take.

Where the loop takes 0.1 us, what is dearest takes 2 us, alone on the machine; twice as much is
allowed here, since what computes beside it takes its share of the caches. What is charged for
nothing takes hundreds of times as long.
"""
BYTES_PER_STEP: Final = TURN_MAX_BYTES // TURN_MAX_STEPS
"""So many bytes bring a turn as near to its end as a step does."""
FREE_STEPS: Final = 3
"""What the operation itself costs where it stands, at least: an operator and two operands."""
REFUSAL_STEPS: Final = 8
"""What an evaluation costs that an error ends, at least."""
PATIENCE_S: Final = 2.0
"""For so long, in time of the thread, something is measured again before it counts as dear."""
_TRIES: Final = 12
_IN_A_ROW: Final = 4
"""How often something is done without a pause: what is done first finds the caches cold."""
_STEPS: Final = 12_000
_LOOP: Final = compile_expression("let i = 0; while i < 500 { i = i + 1; } i")

Work = Callable[[], int]
"""Something that is done once, and returns how many steps it was charged."""


def small_budget() -> TotalBudget:
    """Return a budget that is soon used up: what is charged before it is done ends there."""
    return TotalBudget(_STEPS, _STEPS * BYTES_PER_STEP)


def spent(budget: TotalBudget) -> int:
    """Tell what was taken of a small budget, in steps."""
    memory_bytes = _STEPS * BYTES_PER_STEP - max(budget.memory_bytes, 0)
    return _STEPS - max(budget.steps, 0) + memory_bytes // BYTES_PER_STEP


def price(prepare: Callable[[], Work], patience_s: float = PATIENCE_S) -> float:
    """Return how many times as long as one of a loop each step of some work takes.

    What prepares the work is called for each time that it is measured, and not measured itself.
    Errors of the house are part of the work.
    """
    at_once = _step_s(prepare()) / _quickest_loop_s()
    return at_once if at_once < MOST_LOOPS else _price_over_time(prepare, patience_s)


def _price_over_time(prepare: Callable[[], Work], patience_s: float) -> float:
    """Measure work and the loop in turns until the work is cheap or the time is over."""
    end_s = time.thread_time() + patience_s
    best_s, loop_s = float("inf"), _least_loop_s()
    for tries in count(1):
        works = [prepare() for _ in range(_IN_A_ROW)]
        best_s = min(best_s, *map(_step_s, works))
        cheap = best_s < loop_s * MOST_LOOPS
        if cheap or (tries >= _TRIES and time.thread_time() > end_s):
            break
        loop_s = min(loop_s, _loop_step_s())
    return best_s / loop_s


@cache
def _quickest_loop_s() -> float:
    return _least_loop_s()


def _least_loop_s() -> float:
    return min(_loop_step_s() for _ in range(_TRIES))


def _loop_step_s() -> float:
    """Return what a step of a loop takes at this moment."""

    def work() -> int:
        total = small_budget()
        _LOOP.evaluate({}, total=total)
        return spent(total)

    return _step_s(work)


def _step_s(work: Work) -> float:
    """Do the work; return what a step of it took."""
    begun_s = time.thread_time()
    steps = work()
    return (time.thread_time() - begun_s) / steps


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the collector of garbage out of what is measured."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def free_steps(work: Callable[[], object]) -> int:
    """Do something that may be refused; return the steps that are free of charge in any case."""
    try:
        work()
    except (RillflowError, OverflowError):
        return REFUSAL_STEPS
    return FREE_STEPS
