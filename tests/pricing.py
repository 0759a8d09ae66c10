"""How much processor time something takes for each step that it is charged.

Time is that of the thread, so that what else the machine does counts little, and it is
compared with the time of a loop of the language that is measured at the same moment: a machine
that is slow at the moment is slow for both. What seems too dear is measured again, and the
least of its times counts.
"""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
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
TRIES: Final = 12
_STEPS: Final = 12_000
_LOOP: Final = compile_expression("let i = 0; while i < 500 { i = i + 1; } i")


def small_budget() -> TotalBudget:
    """Return a budget that is soon used up: what is charged before it is done ends there."""
    return TotalBudget(_STEPS, _STEPS * BYTES_PER_STEP)


def spent(budget: TotalBudget) -> int:
    """Tell what was taken of a small budget, in steps."""
    memory_bytes = _STEPS * BYTES_PER_STEP - max(budget.memory_bytes, 0)
    return _STEPS - max(budget.steps, 0) + memory_bytes // BYTES_PER_STEP


@cache
def _quickest_loop_s() -> float:
    return min(_loop_step_s() for _ in range(TRIES))


def _loop_step_s() -> float:
    """Return what a step of a loop takes at this moment."""
    total = small_budget()
    begun_s = time.thread_time()
    _LOOP.evaluate({}, total=total)
    return (time.thread_time() - begun_s) / spent(total)


def price(work: Callable[[], int]) -> float:
    """Return how many times as long as one of a loop each step of the work takes.

    The work returns how many steps it was charged. Errors of the house are part of it.
    """
    best, loop_s = float("inf"), _quickest_loop_s()
    for _ in range(TRIES):
        begun_s = time.thread_time()
        steps = work()
        best = min(best, (time.thread_time() - begun_s) / steps)
        if best < loop_s * MOST_LOOPS:
            break
        loop_s = _loop_step_s()  # the machine may be slower than it was
    return best / loop_s


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
