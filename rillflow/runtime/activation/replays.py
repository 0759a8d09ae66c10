"""Replays of executions beside the events of others.

A replay uses as many turns of the event loop as it needs. What is large is decoded by a thread, and
an event that takes long is interrupted.

Used by `runtime/activation/cache.py`.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

from rillflow.core.events import Event
from rillflow.core.plan import Plan
from rillflow.gateways.outbound.threads import LARGE_BYTES as ALONE_BYTES
from rillflow.gateways.outbound.threads import in_turn
from rillflow.ids import ExecutionId
from rillflow.jsontypes import decoded_ahead
from rillflow.ports.storage.store import StoredExecution
from rillflow.runtime.activation.active_execution import ActiveExecution
from rillflow.runtime.activation.divided_turns import DividedTurns
from rillflow.runtime.activation.replay import Replay, decoded_event, decoded_snapshot
from rillflow.runtime.aio.fair_turns import FairTurns
from rillflow.runtime.crashes.crash_history import REPLAY, CrashHistory

LARGE_BYTES: Final = 1 << 20
"""Executions of more bytes are read one at a time, and their snapshots are decoded by a thread."""


class Replays:
    """Replays the executions of one owner."""

    def __init__(self, turns: FairTurns, divided: DividedTurns, crashes: CrashHistory) -> None:
        """Use ``turns`` of the event loop; ``crashes`` records what is replayed."""
        self._turns = turns
        self._divided = divided
        self._crashes = crashes

    async def replayed(self, plan: Plan, stored: StoredExecution) -> ActiveExecution:
        """Replay an execution.

        Raises:
            StoreError: Its journal cannot be read.
            Exception: Its events, or its snapshot, fail.
        """
        execution_id, snapshot, decoded = stored.execution_id, stored.snapshot, None
        if snapshot is not None and len(snapshot) > LARGE_BYTES:
            decode = partial(decoded_snapshot, snapshot)
            decoded = await in_turn(execution_id, len(snapshot), decode)
        replay = Replay(plan, stored, decoded, self._divided)
        await self._spread(execution_id, replay.begin())
        for records in replay.portions:
            await self._take(execution_id, replay, records)
        execution = replay.execution()
        # Not before: a death of the last event would be forgotten each time that the first is over.
        self._crashes.survived(execution_id, REPLAY)
        return execution

    async def _take(
        self, execution_id: ExecutionId, replay: Replay, records: Sequence[bytes]
    ) -> None:
        """Handle a portion of records; the text of a large one is decoded beside the event loop."""
        if not records or len(records[-1]) <= ALONE_BYTES:
            await self._replay_records(execution_id, replay, records)
            return
        decode = partial(decoded_event, records[-1])
        last = await in_turn(execution_id, len(records[-1]), decode)
        with decoded_ahead([last.text]):
            await self._replay_records(execution_id, replay, records, last.event)

    async def _replay_records(
        self,
        execution_id: ExecutionId,
        replay: Replay,
        records: Sequence[bytes],
        last: Event | None = None,
    ) -> None:
        """Handle records; an event that takes long is finished while no other makes much."""
        end = replay.taken + len(records)
        while replay.taken < end:
            left = records[replay.taken - end :]
            await self._spread(execution_id, replay.steps(left, last))
            if replay.interrupted is not None:
                rest, replay.interrupted = replay.interrupted, None
                await self._divided.finish_alone(execution_id, REPLAY, rest)

    async def _spread(self, execution_id: ExecutionId, steps: Iterator[None]) -> None:
        await self._turns.spread(
            execution_id, self._crashes.each_recorded(execution_id, REPLAY, steps)
        )
