"""Computations on the event loop that are interrupted where they take long, and resumed later.

A computation runs in a greenlet, a coroutine whose stack may be left at any depth. So what it
calls need not know of it: the language calls ``checkpoint`` after each portion of its steps. Only
this thread computes, so nothing else changes between two checkpoints.

Used by `runtime/activation/divided_turns.py`.
"""

import time
from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import Any, Final, Generic, NoReturn, TypeVar

from greenlet import getcurrent, greenlet

LONGEST_S: Final = 0.010
"""A computation that has taken this long is interrupted at its next checkpoint."""

Outcome = TypeVar("Outcome")


class Interrupted(Generic[Outcome]):
    """A computation that was interrupted.

    Attributes:
        about: What its last checkpoint was given.
        is_over: Whether it has returned since.
    """

    __slots__ = ("_outcome", "_work", "_worker", "about", "is_over")

    def __init__(self, work: "ResumableWork", worker: greenlet, about: object) -> None:
        self._work = work
        self._worker: greenlet | None = worker
        self._outcome: Outcome
        self.about = about
        self.is_over = False

    def rest(self, has_room: Callable[[], bool] | None = None) -> Iterator[None]:
        """Compute the rest, and yield where it is interrupted again.

        Ends early where there is no more room; what was not computed then is left.

        Raises:
            Exception: What the computation raises.
        """
        while self._worker is not None and (has_room is None or has_room()):
            outcome = self._work.resume(self._worker)
            if isinstance(outcome, _Interruption):
                self.about = outcome.about
                yield
                continue
            self._worker, self._outcome, self.is_over = None, outcome, True

    def outcome(self) -> Outcome:
        """Return what the computation returned; it must be over."""
        return self._outcome


class ResumableWork:
    """Runs computations, one at a time; those that were interrupted keep their stacks."""

    def __init__(
        self, clock_s: Callable[[], float] = time.perf_counter, longest_s: float = LONGEST_S
    ) -> None:
        """Interrupt what has taken ``longest_s`` by a clock."""
        self._clock_s = clock_s
        self._longest_s = longest_s
        self._ends_s = 0.0
        self._idle: greenlet | None = None
        self._running: greenlet | None = None

    def run(self, compute: Callable[[], Outcome]) -> Outcome | Interrupted[Outcome]:
        """Compute until the end, or until it is interrupted.

        Raises:
            Exception: What the computation raises.
        """
        worker = self._idle or _started()
        self._idle = None
        worker.gr_context = copy_context()
        self._running, self._ends_s = worker, self._clock_s() + self._longest_s
        answer: list[Outcome] | _Interruption = worker.switch(compute)
        if isinstance(answer, _Interruption):
            self._running = None
            return Interrupted(self, worker, answer.about)
        self._idle = worker
        return answer.pop()

    def resume(self, worker: greenlet) -> Any:
        """Go on with the computation of a worker; return what it returned, if it did.

        Raises:
            Exception: What the computation raises, which ends the worker.
        """
        self._running, self._ends_s = worker, self._clock_s() + self._longest_s
        answer = worker.switch()
        self._running = None
        if isinstance(answer, _Interruption):
            return answer
        self._idle = worker
        return answer.pop()

    def checkpoint(self, about: object) -> None:
        """Interrupt the computation that calls this, if it has taken long.

        Outside of a computation nothing happens.
        """
        # No frame of the computation may refer to its worker, which would never be freed.
        if self._clock_s() >= self._ends_s and getcurrent() is self._running:
            getcurrent().parent.switch(_Interruption(about))


class _Interruption:
    __slots__ = ("about",)

    def __init__(self, about: object) -> None:
        self.about = about


def _started() -> greenlet:
    """Start a worker; that takes longer than most computations, so one is kept."""
    worker = greenlet(_work)
    worker.switch()
    return worker


def _work() -> NoReturn:
    """Compute one thing after the other; one that raises ends the worker.

    While this waits it keeps nothing of what it has computed: it may be a whole execution.
    """
    outcomes: list[object] = []
    while True:
        compute = getcurrent().parent.switch(outcomes)
        outcomes.append(compute())
        del compute
