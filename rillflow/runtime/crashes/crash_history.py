"""Executions that were being handled when their process died; the second death quarantines them.

One death may be chance: somebody killed the process, or another execution used all memory. So an
execution is suspected after the first death, and quarantined after the second, unless the step at
which the process died has succeeded since. A quarantined execution is not even read, because
reading may be what is fatal, until somebody redoes or cancels it.

Used by `runtime/activation` and `runtime/owner`.
"""

import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Final

from rillflow.errors import SetApartError
from rillflow.ids import ExecutionId
from rillflow.ports.clock import Clock
from rillflow.ports.store import Death, Journal
from rillflow.runtime.aio.background import BackgroundTasks
from rillflow.runtime.aio.retrying import retry_while_unavailable
from rillflow.runtime.crashes.handling_record import HandlingRecord

log = logging.getLogger("rillflow.crashes")

MOST_DEATHS: Final = 2
_OVER: Final = object()


class CrashHistory:
    """The deaths of earlier processes that count against the executions of one owner.

    They are in the store before the owner handles anything.
    """

    def __init__(self, journal: Journal, record: HandlingRecord) -> None:
        """Count what is in the store and what the process before has left in ``record``."""
        self._journal = journal
        self._record = record
        self.begin = record.begin
        """Record the step that is handled from now on, until the next step or the end."""
        self.end = record.end
        """Record that no step is handled now."""
        self._background = BackgroundTasks(_not_forgotten)
        self._by_id: dict[ExecutionId, list[Death]] = {}
        self.suspects: Collection[ExecutionId] = self._by_id.keys()
        """The executions that any death counts against."""

    def __len__(self) -> int:
        return len(self._by_id)

    async def start(self, clock: Clock, owns: Callable[[ExecutionId], bool]) -> None:
        """Store what the process before died of, and read the deaths of all executions.

        Raises:
            StoreError: The store cannot be read or written.
        """
        left = self._record.left
        if left is not None:
            death = Death(
                execution_id=left.execution_id,
                life=left.life,
                step=left.step,
                at_ms=clock.now_ms(),
            )
            await self._journal.note_death(death)
            log.error("died_of", extra={"execution_id": left.execution_id, "step": left.step})
        self._record.open()
        found = await self._journal.deaths()
        self._by_id.clear()  # An earlier start may have failed halfway.
        for death in found:
            if owns(death.execution_id):
                self._by_id.setdefault(death.execution_id, []).append(death)
        for execution_id in filter(self.is_set_apart, self._by_id):
            facts = {"execution_id": execution_id, "reason": self._reason(execution_id)}
            log.error("set_apart", extra=facts)

    async def stop(self) -> None:
        """Cancel pending deletions; the next process makes them."""
        await self._background.stop()

    async def look_again(self, execution_id: ExecutionId) -> None:
        """Read the deaths of an execution that has an owner of its own.

        Raises:
            StoreError: The store cannot be read.
        """
        found = [each for each in await self._journal.deaths() if each.execution_id == execution_id]
        self._by_id.pop(execution_id, None)
        if found:
            self._by_id[execution_id] = found

    def is_set_apart(self, execution_id: ExecutionId) -> bool:
        """Tell whether an execution is quarantined."""
        return bool(self._by_id) and len(self._by_id.get(execution_id, ())) >= MOST_DEATHS

    def refuse(self, execution_id: ExecutionId) -> None:
        """Accept an execution that may be handled.

        Raises:
            SetApartError: It is quarantined.
        """
        if self._by_id and self.is_set_apart(execution_id):
            raise SetApartError(execution_id, self._reason(execution_id))

    @contextmanager
    def during(self, execution_id: ExecutionId, step: str) -> Iterator[None]:
        """Record that a step is handled, and afterwards that it succeeded."""
        self._record.begin(execution_id, step)
        try:
            yield
        finally:
            self._record.end()
        self.survived(execution_id, step)

    def during_each(
        self, execution_id: ExecutionId, step: str, parts: Iterator[None]
    ) -> Iterator[None]:
        """Handle the parts of a step and record it during each; other steps may come in between."""
        is_over = False
        while not is_over:
            self._record.begin(execution_id, step)
            try:
                is_over = next(parts, _OVER) is _OVER
            finally:
                self._record.end()
            yield
        self.survived(execution_id, step)

    def survived(self, execution_id: ExecutionId, step: str) -> None:
        """Note that a step succeeded, so an earlier death in it was chance."""
        if not self._by_id or self.is_set_apart(execution_id):
            return
        deaths = self._by_id.get(execution_id, [])
        left = [death for death in deaths if death.step != step]
        if len(left) == len(deaths):
            return
        self._by_id[execution_id] = left
        if not left:
            del self._by_id[execution_id]
        self._background.begin(execution_id, self._forget_durably(execution_id, step))

    def forget(self, execution_id: ExecutionId) -> bool:
        """Drop the deaths of an execution; return whether it was quarantined."""
        was_set_apart = self.is_set_apart(execution_id)
        if self._by_id.pop(execution_id, None) is not None:
            self._background.begin(execution_id, self._forget_durably(execution_id, None))
        return was_set_apart

    async def _forget_durably(self, execution_id: ExecutionId, step: str | None) -> None:
        await retry_while_unavailable(lambda: self._journal.forget_deaths(execution_id, step))

    def _reason(self, execution_id: ExecutionId) -> str:
        steps = " and ".join(repr(death.step) for death in self._by_id[execution_id])
        return (
            f"the process that handled it died {len(self._by_id[execution_id])} times, in the"
            f" steps {steps}; it goes on after a redo or a cancellation"
        )


def _not_forgotten(execution_id: ExecutionId, error: Exception) -> None:
    log.error("deaths_not_forgotten", extra={"execution_id": execution_id}, exc_info=error)
