"""Calls that were under way when processes of their dispatcher died: making one may be fatal.

Their owners order them again, since most have nothing to do with it, and say how many processes
have died. From then on the dispatcher records which of these calls it works at, at each moment, as
owners record what they handle (``runtime/crashes``). What is recorded when the process dies again
is not made any more: the next process fails the attempt. Calls that were never under way at a death
cost nothing.

Used by `actors/dispatcher_actor.py`, `runtime/dispatch/pool.py` and `runtime/endpoints`.
"""

import logging
import sys
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Final

from rillflow.ids import ExecutionId, TaskName, workspace_of
from rillflow.ports.clock import Clock
from rillflow.ports.gateway import HANDLE_FAILS, DispatchAnswer, DispatchRequest, failed
from rillflow.runtime.aio.sender_turns import SenderTurns
from rillflow.runtime.crashes.crash_history import HandlingRecord

log = logging.getLogger("rillflow.dispatch")

DIED: Final = "the process of the dispatcher died twice while it made this call"
REFUSED_S: Final = 600.0
"""How long further attempts of such a task fail at once, whatever its retries are."""
ALONE_DEATHS: Final = 2
"""After so many deaths calls of plugins are made one at a time."""
MOST_STEPPED_DEATHS: Final = 4
"""After so many deaths any call is: what is fatal happens beside its steps, as in a parser."""
_STEP: Final = "call "

Make = Callable[[DispatchRequest], Coroutine[Any, Any, DispatchAnswer]]


class SuspectCalls:
    """Makes calls that were under way at deaths, or fails those that are fatal."""

    def __init__(
        self,
        record: HandlingRecord,
        clock: Clock,
        runs_beside: Callable[[DispatchRequest], bool] = lambda _: False,
    ) -> None:
        """Record what is made; ``record`` says what the process before was making as it died.

        ``runs_beside`` tells whether a call is made in a thread or task of its own, by code of the
        operator. Nobody knows what such code does at a moment, so one of these calls is made at a
        time, workspaces in turn.
        """
        self._record = record
        self._clock = clock
        self._runs_beside = runs_beside
        self._turns = SenderTurns(most=sys.maxsize, refusal="never refused")
        self._until_s = clock.monotonic_s() + REFUSED_S
        self._fatal: set[tuple[ExecutionId, TaskName]] = {
            (each.execution_id, each.step.removeprefix(_STEP)) for each in record.left
        }
        for execution_id, task in self._fatal:
            log.error("call_is_fatal", extra={"execution_id": execution_id, "task": task})
        record.open()

    @property
    def knows_fatal(self) -> bool:
        """Whether any task is known whose call was fatal a short while ago."""
        if self._fatal and self._until_s < self._clock.monotonic_s():
            self._fatal.clear()
        return bool(self._fatal)

    def is_fatal(self, request: DispatchRequest) -> bool:
        """Tell whether the call of this task was fatal a short while ago."""
        return self.knows_fatal and (request.execution_id, request.task) in self._fatal

    def made(self, request: DispatchRequest, deaths: int, make: Make) -> "_SuspectCall":
        """Return what makes a call once it is awaited."""
        return _SuspectCall(self._made(request, deaths, make))

    async def _made(self, request: DispatchRequest, deaths: int, make: Make) -> DispatchAnswer:
        if self.is_fatal(request):
            return failed(request, f"{HANDLE_FAILS}{DIED}")
        step = f"{_STEP}{request.task}"
        record = self._record
        if deaths >= (ALONE_DEATHS if self._runs_beside(request) else MOST_STEPPED_DEATHS):
            async with self._turns.turn(workspace_of(request.execution_id)):
                record.begin_beside(request.execution_id, step)
                try:
                    return await make(request)
                finally:
                    record.end_beside()
        return await _RecordedSteps(
            make(request), lambda: record.begin(request.execution_id, step), record.end
        )


class _SuspectCall:
    """A call that is begun when it is awaited, and never complains if it is not."""

    def __init__(self, made: Coroutine[Any, Any, DispatchAnswer]) -> None:
        self._made = made

    def __await__(self) -> Generator[Any, Any, DispatchAnswer]:
        return self._made.__await__()

    def __del__(self) -> None:
        self._made.close()


class _RecordedSteps:
    """A coroutine, with something before and after each of its steps in the event loop."""

    def __init__(
        self,
        steps: Coroutine[Any, Any, DispatchAnswer],
        begin: Callable[[], None],
        end: Callable[[], None],
    ) -> None:
        self._steps = steps
        self._begin = begin
        self._end = end

    def __await__(self) -> Generator[Any, Any, DispatchAnswer]:
        steps = self._steps
        got: Any = None
        raised: BaseException | None = None
        while True:
            self._begin()
            try:
                waits = steps.send(got) if raised is None else steps.throw(raised)
            except StopIteration as over:
                answer: DispatchAnswer = over.value
                return answer
            finally:
                self._end()
            got = raised = None
            try:
                got = yield waits
            except BaseException as error:  # noqa: BLE001 - for the coroutine
                raised = error
