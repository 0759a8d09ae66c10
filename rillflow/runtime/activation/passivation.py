"""Noting in the store what spares later lives work, beside the events of executions."""

import logging
from typing import Final

from rillflow.core import codec
from rillflow.core.machine import waits_for_others_only
from rillflow.core.state import copied
from rillflow.errors import StoreError
from rillflow.gateways.messages.threads import in_thread
from rillflow.ids import ExecutionId
from rillflow.ports.store import Append, Journal
from rillflow.runtime.activation.active_execution import ActiveExecution
from rillflow.runtime.activation.journal_rows import JournalRows
from rillflow.runtime.aio.background import BackgroundTasks, Crashed

log = logging.getLogger("rillflow.passivation")

FINISH_S: Final = 5.0


class Passivation:
    """Sees to executions that leave memory to make room for others, and come back.

    One that has no call under way, no timer and nobody to tell is noted as resting, under the
    number of its events: an event that comes meanwhile wins. That costs what goes on quickly
    nothing, and what could not be noted is read at the next start. Of one whose replay took
    long a snapshot is written, since it may leave memory again before its next event; and so is
    that of one that may be large, whose encoding would hold the event loop.
    """

    def __init__(self, journal: Journal, rows: JournalRows, crashed: Crashed) -> None:
        self._journal = journal
        self._rows = rows
        self._notes = BackgroundTasks(crashed)
        self._snapshots = BackgroundTasks(crashed)
        self._under_way: set[ExecutionId] = set()

    def left(self, execution: ActiveExecution) -> None:
        """Take leave of an execution."""
        plan, state = execution.plan, execution.state
        if not execution.noted_as_resting and waits_for_others_only(plan, state):
            self._notes.begin(state.execution_id, self._note(self._rows.rest_of(execution)))

    def replayed(self, execution: ActiveExecution) -> None:
        """See to an execution of this owner that was just read."""
        if self._rows.owes_snapshot(execution):
            self.write_snapshot(execution)

    def write_snapshot(self, execution: ActiveExecution) -> None:
        """Write a snapshot of an execution beside the event loop, unless that is under way."""
        execution_id = execution.state.execution_id
        if execution_id not in self._under_way:
            self._under_way.add(execution_id)
            self._snapshots.begin(execution_id, self._write_snapshot(execution))

    async def stop(self) -> None:
        """Give up what is not noted yet; snapshots are still written, if that is done soon."""
        await self._notes.stop()
        await self._snapshots.finish(FINISH_S)

    async def _write_snapshot(self, execution: ActiveExecution) -> None:
        seq, steps, state = execution.written, execution.replay_steps, copied(execution.state)
        try:
            snapshot = await in_thread(lambda: codec.encode_large_state(state))
            if not execution.is_distrusted:
                await self._journal.append([self._rows.snapshot_of(execution, snapshot, seq)])
                execution.note_snapshot(snapshot, steps)
        except StoreError as error:
            log.debug("snapshot_not_written", extra={"reason": str(error)})
        finally:
            self._under_way.discard(state.execution_id)

    async def _note(self, append: Append) -> None:
        try:
            await self._journal.append([append])
        except StoreError as error:
            log.debug("not_noted", extra={"reason": str(error)})
