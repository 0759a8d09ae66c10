"""How an owner writes to the journal: under which epoch, which rows, and what a refusal means.

The epoch keeps two owners of an execution apart: every append carries it, and the store refuses
the append if another owner has taken a higher one (docs/decisions/ownership/fencing.md).
`runtime/owner` takes the epoch at its start. It and `eviction_writes.py` build their appends here;
the store writes them. The writer also notices that a newer owner has taken over.
"""

import asyncio
import logging
import time
import zlib
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from cachetools import FIFOCache

from rillflow.core.encoding import codec
from rillflow.core.events import Event
from rillflow.core.machine import Handled
from rillflow.core.state import ExecutionState
from rillflow.core.status import DAG_COMPLETED, DagStatus
from rillflow.definition.checks.search_keys import SearchValues, search_values
from rillflow.errors import (
    ConflictError,
    CrashedError,
    FencedError,
    QuotaError,
    RillflowError,
    StoreError,
)
from rillflow.ids import (
    PARTITIONS,
    ExecutionId,
    is_dedicated,
    listing_partition,
    partition_of,
)
from rillflow.ports.executions import Submission
from rillflow.ports.storage.store import Append, Closing, Journal, NewExecution
from rillflow.runtime.activation.active_execution import SMALL_BYTES, ActiveExecution
from rillflow.runtime.activation.append_log import AppendLog
from rillflow.runtime.aio.background import Crashed

log = logging.getLogger("rillflow.owner")

_LISTED: Final = {status: status.name.lower() for status in DagStatus}
"""How listings name the statuses."""
MOST_ADOPTED: Final = 1000
"""How many scopes of ended executions are remembered; others are adopted again."""
_DEDICATED_SCOPE: Final = 2 * PARTITIONS
AVERAGED: Final = 16
"""Over about so many appends their time is averaged."""
SNAPSHOT_STEPS: Final = 500_000
"""A replay may cost this before a newer snapshot is written: a quarter of the longest turn."""


class OwnerEpoch:
    """The epochs of one owner.

    A shared owner owns partitions. A dedicated owner has a fencing scope of its own, named by the
    execution. The owner of the partition takes that scope over when it has to write to a dedicated
    execution that has ended.
    """

    def __init__(
        self, journal: Journal, partitions: Sequence[int], dedicated: ExecutionId | None
    ) -> None:
        self._journal = journal
        self._dedicated = dedicated
        self._scopes = list(partitions) if dedicated is None else [self.scope_of(dedicated)]
        self._partitions = frozenset(partitions)
        self._epoch = 0
        self._adopted = FIFOCache[int, int](MOST_ADOPTED)

    async def take(self) -> None:
        """Take a new epoch; from here on the store refuses every earlier owner."""
        self._epoch = await self._journal.take_scopes(self._scopes)

    @property
    def epoch(self) -> int:
        """The epoch of this owner, greater than those of earlier owners."""
        return self._epoch

    async def is_lost(self) -> bool:
        """Ask the store whether a newer owner has taken over.

        Raises:
            StoreError: The store cannot be read.
        """
        return await self._journal.newest_epoch(self._scopes) > self._epoch

    async def adopt(self, execution_id: ExecutionId) -> None:
        """Take over the scope of a dedicated execution that has ended.

        What was read of the execution before may be out of date.

        Raises:
            StoreError: The store cannot be written.
        """
        scope = self.scope_of(execution_id)
        self._adopted[scope] = await self._journal.take_scopes([scope])

    def release(self, execution_id: ExecutionId) -> None:
        """Give an adopted scope back to the actor that is about to take it."""
        self._adopted.pop(self.scope_of(execution_id), None)

    def is_near(self, execution_id: ExecutionId) -> bool:
        """Tell whether calls about an execution reach this owner if they are sent on."""
        if self._dedicated is not None:
            return execution_id == self._dedicated
        return partition_of(execution_id) in self._partitions

    def is_own(self, execution_id: ExecutionId) -> bool:
        """Tell whether nobody else changes an execution, so that it may be kept in memory.

        An owner reads others too: calls that dispatchers have for earlier processes of its name may
        be of partitions that have moved meanwhile.
        """
        return self.is_near(execution_id) and not self.is_elsewhere(execution_id)

    def is_elsewhere(self, execution_id: ExecutionId) -> bool:
        """Tell whether an execution belongs to an actor of its own, and not to this owner."""
        return is_dedicated(execution_id) and execution_id != self._dedicated

    def scope_of(self, execution_id: ExecutionId) -> int:
        """Return the fencing scope of an execution."""
        if is_dedicated(execution_id):
            return _DEDICATED_SCOPE + zlib.crc32(execution_id.encode())
        return partition_of(execution_id)

    def fence_of(self, execution_id: ExecutionId) -> tuple[int, int]:
        """Return the fencing scope of an execution, and the epoch to write its records under."""
        if not is_dedicated(execution_id):
            return partition_of(execution_id), self._epoch
        scope = self.scope_of(execution_id)
        is_own = execution_id == self._dedicated
        return scope, self._epoch if is_own else self._adopted.get(scope, 0)


class Progress(msgspec.Struct, frozen=True):
    """How far an execution has come: whether it has ended, and whether it owes a notice."""

    over: bool = False
    settled: bool = False


GOING_ON: Final = Progress()


def progress_of(execution: ActiveExecution) -> Progress:
    """Return how far an execution has come."""
    if not DAG_COMPLETED[execution.state.status]:
        return GOING_ON
    return Progress(over=True, settled=execution.settled)


class JournalRows:
    """Builds the appends of one owner.

    A replay costs what handling the events has cost: one event may take the budget of a whole turn,
    and a waiting execution may receive any number of events. So when a replay would take more than
    ``snapshot_steps``, the next event is written together with a snapshot. A large one is
    written after the event (see ``EvictionWrites``).
    """

    def __init__(self, ownership: OwnerEpoch, snapshot_steps: int = SNAPSHOT_STEPS) -> None:
        self._ownership = ownership
        self._snapshot_steps = snapshot_steps

    def append_of(
        self,
        execution: ActiveExecution,
        event: Event,
        handled: Handled,
        before: Progress,
        new: NewExecution | None = None,
    ) -> Append:
        """Build the append of an event that was just handled, and count its record."""
        state = execution.state
        rests = None
        if execution.noted_as_resting is not False:
            rests = False
            execution.note_rest(rests=False)
        record = codec.encode_event(event)
        execution.note_event(record, handled, event)
        status, closing, snapshot = None, None, None
        progress = progress_of(execution) if DAG_COMPLETED[state.status] else GOING_ON
        if progress.settled and not before.settled:
            closing = _closing(state, event.at_ms)
        elif new is not None or (progress is not before and progress != before):
            status = _LISTED[state.status]
        if closing is not None or (
            execution.replay_steps > self._snapshot_steps and self.owes_snapshot(execution)
        ):
            snapshot = _short_snapshot(execution)
        keys = None
        if execution.plan.search_keys:
            keys = _changed_keys(execution, status is not None or closing is not None)
        scope, epoch = self._ownership.fence_of(state.execution_id)
        return Append(
            execution_id=state.execution_id,
            fencing_scope=scope,
            epoch=epoch,
            first_seq=execution.written,
            records=(record,),
            new=new,
            status=status,
            closing=closing,
            snapshot=snapshot,
            snapshot_seq=execution.written if snapshot else 0,
            rests=rests,
            search_values=keys,
        )

    def owes_snapshot(self, execution: ActiveExecution) -> bool:
        """Tell whether replaying an execution would take too long."""
        return execution.owes_snapshot(self._snapshot_steps)

    def confirmation_of(self, execution: ActiveExecution) -> Append:
        """Build the append that writes nothing, and that the store accepts only if memory is valid.

        A repeated call is acknowledged from memory. It must not be if a newer owner has written
        since, or if the state in memory could not be written.
        """
        execution_id = execution.state.execution_id
        scope, epoch = self._ownership.fence_of(execution_id)
        return Append(
            execution_id=execution_id,
            fencing_scope=scope,
            epoch=epoch,
            first_seq=execution.written + 1,
            records=(),
        )

    def rest_of(self, execution: ActiveExecution) -> Append:
        """Build the append that lists an execution as resting.

        The store refuses it if an event was written since.
        """
        return msgspec.structs.replace(self.confirmation_of(execution), rests=True)

    def snapshot_of(self, execution: ActiveExecution, snapshot: bytes, seq: int) -> Append:
        """Build the append of a snapshot with the events up to ``seq``, without an event.

        These events must be durable. The store accepts it also after later events.
        """
        return msgspec.structs.replace(
            self.confirmation_of(execution),
            first_seq=seq + 1,
            snapshot=snapshot,
            snapshot_seq=seq,
        )


def _short_snapshot(execution: ActiveExecution) -> bytes | None:
    """Encode a snapshot, and note that it is written; None if it is to be written apart."""
    if not execution.may_have_large_snapshot:
        snapshot = codec.encode_state(execution.state)
        if len(snapshot) <= SMALL_BYTES:
            execution.note_snapshot(snapshot)
            return snapshot
    execution.note_lack_of_snapshot()
    return None


def _closing(state: ExecutionState, at_ms: int) -> Closing:
    return Closing(status=_LISTED[state.status], code=state.invoke.code, finished_at_ms=at_ms)


def _changed_keys(execution: ActiveExecution, is_told: bool) -> SearchValues | None:  # noqa: FBT001 - called for each event
    """Return the values of search keys, None if the store has them.

    They are written anew with each status that is told, which the index has, too.
    """
    values = search_values(execution.plan.search_keys, execution.state.context)
    if not is_told and values == execution.noted_search_values:
        return None
    execution.note_search_values(values)
    return values


def listed_status(state: ExecutionState) -> str:
    """Return the status of an execution as listings name it."""
    return _LISTED[state.status]


def row_of(call: Submission) -> NewExecution:
    """Build the row of a submitted execution."""
    event = call.event
    return NewExecution(
        execution_id=event.execution_id,
        business=call.business,
        feature=call.feature,
        listing_partition=listing_partition(event.execution_id),
        definition_id=event.definition_id,
        submitted_at_ms=event.at_ms,
        dedicated=event.dedicated,
        parent_id=event.parent.execution_id if event.parent else None,
        idempotency_key=call.idempotency_key,
        request_digest=call.request_digest,
        ancestors=tuple(step.execution_id for step in event.route),
        max_descendants=event.max_descendants,
    )


OWNERSHIP_S: Final = 2.0
"""How long an owner that was taken for dead may read after it was replaced."""
_ONE_BY_ONE: Final = "what was written together is written one by one"


class JournalWriter:
    """Appends to the journal.

    ``crashed`` is called for an execution that cannot be written, ``on_fenced`` when this owner was
    replaced and must leave.
    """

    def __init__(
        self,
        journal: Journal,
        ownership: OwnerEpoch,
        *,
        crashed: Crashed,
        on_fenced: Callable[[], None],
    ) -> None:
        self._journal = journal
        self._ownership = ownership
        self._crashed = crashed
        self._on_fenced = on_fenced
        self._log = AppendLog()
        self.append_s = 0.0
        """How long an append takes, on average of the latest ones, in seconds."""

    async def append(self, appends: Sequence[Append]) -> RillflowError | None:
        """Write appends together; return why they were not written, None if they were."""
        if not appends:
            return None
        begun_s = time.perf_counter()
        try:
            await self._journal.append(appends)
            self.append_s += (time.perf_counter() - begun_s - self.append_s) / AVERAGED
        except StoreError as error:
            return await self._not_written(appends, error)
        except Exception as error:  # noqa: BLE001 - one execution must not stop the others
            if len(appends) > 1:
                return ConflictError(_ONE_BY_ONE)
            self._crashed(appends[0].execution_id, error)
            return CrashedError("internal server error")
        return None

    async def watch_ownership(self) -> None:
        """Notice a newer owner also when there is nothing to write, and leave."""
        while True:
            await asyncio.sleep(OWNERSHIP_S)
            try:
                await self._leave_if_lost()
            except Exception:
                log.exception("ownership_not_checked")

    async def _not_written(self, appends: Sequence[Append], error: StoreError) -> RillflowError:
        if isinstance(error, FencedError):
            return await self._fenced(appends, error)
        if isinstance(error, QuotaError):
            return error if len(appends) == 1 else ConflictError(_ONE_BY_ONE)
        self._log.note(error, len(appends))
        return error

    async def _fenced(self, appends: Sequence[Append], error: FencedError) -> RillflowError:
        """Adopt those of the executions that are dedicated, or leave.

        What was read of them before is out of date, so their calls are handled again.
        """
        log.warning("fenced", extra={"appends": len(appends)})
        ids = [append.execution_id for append in appends]
        elsewhere = [each for each in ids if self._ownership.is_elsewhere(each)]
        try:
            for execution_id in elsewhere:
                await self._ownership.adopt(execution_id)
        except StoreError as failure:
            return failure
        await self._leave_if_lost()
        return ConflictError("what was read is out of date") if elsewhere else error

    async def _leave_if_lost(self) -> None:
        try:
            if await self._ownership.is_lost():
                self._on_fenced()
        except StoreError as error:
            log.warning("ownership_unknown", extra={"reason": str(error)})
