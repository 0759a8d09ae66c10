"""What is written to the store when executions leave memory.

These writes only save work at the next activation or start. Losing one loses no event.

Used by `runtime/activation/cache.py` and `runtime/owner/execution_owner.py`.
"""

import asyncio
import logging
from contextlib import AbstractContextManager
from functools import partial
from typing import Final, NamedTuple

from rillflow.core.encoding import codec
from rillflow.core.machine import waits_for_others_only
from rillflow.core.state import ExecutionState
from rillflow.errors import StoreError
from rillflow.gateways.outbound.threads import LARGE_BYTES, in_turn
from rillflow.ids import ExecutionId
from rillflow.ports.storage.store import Append, Journal
from rillflow.runtime.activation.active_execution import ActiveExecution
from rillflow.runtime.activation.journal import JournalRows
from rillflow.runtime.aio.background import BackgroundTasks, Crashed

log = logging.getLogger("rillflow.eviction")

FINISH_S: Final = 5.0
MOST_AFTER_REPLAYS: Final = 2
"""No snapshot is begun after a replay beside so many: each keeps a state until it is written."""


class _Moment(NamedTuple):
    """An execution after its last event: what was written, what its replay costs, its state."""

    seq: int
    steps: int
    state: ExecutionState
    last_append: "asyncio.Future[None] | None"


def _now(execution: ActiveExecution) -> _Moment:
    state = execution.state_to_read()
    return _Moment(execution.written, execution.replay_steps, state, execution.append_under_way)


class EvictionWrites:
    """Handles executions that are evicted, and executions that were read again.

    An execution that has no call under way, no timer and no notice to deliver is listed as resting,
    under the number of its last event: an event that arrives meanwhile wins. Executions that
    continue soon cost nothing, and those that could not be listed are read at the next start. A
    snapshot is written for an execution whose replay took long, because it may be evicted again
    before its next event, and for one that may be large, because encoding it would hold the event
    loop; it is encoded when it is the turn of its workspace.
    """

    def __init__(self, journal: Journal, rows: JournalRows, crashed: Crashed) -> None:
        self._journal = journal
        self._rows = rows
        self._notes = BackgroundTasks(crashed)
        self._snapshots = BackgroundTasks(crashed)
        self._under_way: set[ExecutionId] = set()

    def left(self, execution: ActiveExecution) -> None:
        """Handle an execution that was evicted."""
        plan, state = execution.plan, execution.state
        if not execution.noted_as_resting and waits_for_others_only(plan, state):
            self._notes.begin(state.execution_id, self._note(self._rows.rest_of(execution)))

    def replayed(self, execution: ActiveExecution) -> None:
        """Handle an execution of this owner that was just replayed."""
        if len(self._under_way) < MOST_AFTER_REPLAYS and self._rows.owes_snapshot(execution):
            self.write_snapshot(execution)

    def write_snapshot(self, execution: ActiveExecution) -> None:
        """Write a snapshot beside the event loop, unless one is being written.

        It is that of this moment: before a task has begun, an event may have been interrupted that
        has changed a part of the state.
        """
        execution_id = execution.state.execution_id
        if execution_id not in self._under_way:
            self._under_way.add(execution_id)
            self._snapshots.begin(execution_id, self._write_snapshot(execution, _now(execution)))

    async def stop(self) -> None:
        """Drop pending notes; snapshots under way are still written if that is quick."""
        await self._notes.stop()
        await self._snapshots.finish(FINISH_S)

    async def _write_snapshot(self, execution: ActiveExecution, moment: _Moment) -> None:
        seq, steps, state, last_append = moment
        try:
            snapshot, cut = await in_turn(
                state.execution_id, LARGE_BYTES + 1, partial(self._encoded, state)
            )
            if last_append is not None:
                await asyncio.wait({last_append})
            if not execution.is_distrusted:
                with cut:
                    await self._journal.append([self._rows.snapshot_of(execution, snapshot, seq)])
                execution.note_snapshot(snapshot, steps)
        except StoreError as error:
            log.debug("snapshot_not_written", extra={"reason": str(error)})
        finally:
            self._under_way.discard(state.execution_id)

    def _encoded(self, state: ExecutionState) -> tuple[bytes, AbstractContextManager[None]]:
        """Encode a state, and find the large values of its text; runs in a thread."""
        snapshot = codec.encode_large_state(state)
        return snapshot, self._journal.cut_ahead([snapshot[1:]])

    async def _note(self, append: Append) -> None:
        try:
            await self._journal.append([append])
        except StoreError as error:
            log.debug("not_noted", extra={"reason": str(error)})
