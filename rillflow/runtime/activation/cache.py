"""The activation cache: the executions in memory, each at most once.

`runtime/owner` leases executions from it. It reads and replays executions, and drops those whose
memory may differ from the store. It does not append and does not answer calls.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import Final

from cachetools import LRUCache

from rillflow.core.plan import Plan
from rillflow.errors import (
    CrashedError,
    DamagedError,
    LargeExecutionError,
    NotReadyError,
    StoreError,
)
from rillflow.ids import ExecutionId, workspace_of
from rillflow.ports.storage.store import Store, StoredExecution
from rillflow.runtime.activation.active_execution import ActivationEvent, ActiveExecution, Stage
from rillflow.runtime.activation.divided_turns import DividedTurns
from rillflow.runtime.activation.eviction_writes import EvictionWrites
from rillflow.runtime.activation.hot_executions import HotExecutions, free_in_portions
from rillflow.runtime.activation.journal import OwnerEpoch
from rillflow.runtime.activation.large_reads import MOST_KNOWN, LargeReads
from rillflow.runtime.activation.loading import ActivationWatch, CreatedMeanwhileError, Loading
from rillflow.runtime.activation.replay import is_long
from rillflow.runtime.activation.replays import LARGE_BYTES, Replays
from rillflow.runtime.aio.fair_turns import FairTurns
from rillflow.runtime.aio.retrying import retry_while_unavailable
from rillflow.runtime.aio.workspace_places import WorkspacePlaces
from rillflow.runtime.crashes.crash_history import CrashHistory
from rillflow.runtime.definitions.catalogue import Plans

log = logging.getLogger("rillflow.activation")

MOST_ENDED: Final = 512
# An attribute of an enumeration takes longer to read than a name of the module.
_NEW: Final = Stage.NEW
_ACTIVE: Final = Stage.ACTIVE
_DISTRUSTED: Final = Stage.DISTRUSTED
SHARE_OF_ENDED: Final = 8
"""Ended executions may take this share of the memory that the others have."""


class OpenAppend:
    """An append under way, of one or several executions, which stay in memory until ``end``."""

    __slots__ = ("_cache", "_executions", "_over")

    def __init__(self, cache: "ActivationCache", executions: Sequence[ActiveExecution]) -> None:
        self._cache = cache
        self._executions = executions
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for execution in executions:
            execution.begin_append(self._over)

    def end(self, *, is_written: bool) -> None:
        """Note that the append is over; memory is valid if it was written, else distrusted."""
        self._cache.end_append(self._executions, self._over, is_written=is_written)


class ActivationCache:
    """Activates executions, each at most once, and evicts them.

    A call has a lease on its execution. While an execution is leased, or has appends under way, it
    stays in memory. After a failed append nobody knows what the store holds: the execution is
    dropped once its last append is over, and until then no call gets it (see
    ``active_execution.NEXT``). Executions that ``crashes`` has quarantined are not read. A replay
    uses as many ``turns`` of the event loop as it needs, so that other executions run in between.
    ``eviction_writes`` handles those that were evicted.

    Executions that are large, or were as they left memory, are read one at a time, workspaces in
    turn, each after what was read before it has had its time: the memory beyond ``hot_bytes`` is
    that of the executions in use, and of one that is read (``large_reads.py``).
    """

    def __init__(  # noqa: PLR0913 - the ports it joins
        self,
        store: Store,
        ownership: OwnerEpoch,
        *,
        most_hot: int,
        hot_bytes: int,
        watch: ActivationWatch,
        eviction_writes: EvictionWrites,
        crashes: CrashHistory,
        turns: FairTurns,
        divided: DividedTurns,
        room: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
    ) -> None:
        self._store = store
        self._divided = divided
        self._replays = Replays(turns, divided, crashes)
        self._crashes = crashes
        self._ownership = ownership
        self._watch = watch
        self._eviction_writes = eviction_writes
        self.plans = Plans(store)
        self.unresumed: set[ExecutionId] = set()
        self._hot = HotExecutions(most_hot, hot_bytes, self._evicted)
        # They are few, and most are never looked up again, so folding them saves nothing.
        self._ended = HotExecutions(
            MOST_ENDED, hot_bytes // SHARE_OF_ENDED, self._ended_left, folds=False
        )
        # Their calls are ended, which takes longer than large ones stay in memory.
        self._cancelled = LRUCache[ExecutionId, bool](MOST_KNOWN)
        self._loading: dict[ExecutionId, Loading] = {}
        self._settlements: dict[ExecutionId, asyncio.Event] = {}
        self._places = WorkspacePlaces()
        self._large = LargeReads(self._hot, self._ended, crashes, release=self.release, room=room)
        self.kept_if_large = self._large.kept_if_large

    @property
    def active(self) -> int:
        """The number of executions in memory that have not settled."""
        return len(self._hot)

    async def stop(self) -> None:
        """Cancel the reads under way."""
        loading = [each.task for each in self._loading.values() if each.task is not None]
        for task in loading:
            task.cancel()
        await asyncio.gather(*loading, return_exceptions=True)

    def find(self, execution_id: ExecutionId) -> ActiveExecution | None:
        """Return an execution that is in memory; it may be about to be dropped."""
        return self._hot.get(execution_id) or self._ended.get(execution_id)

    def peek(self, execution_id: ExecutionId) -> ActiveExecution | None:
        """Return an execution that is active and not folded; this does not count as a use.

        One that is being changed by a turn under way is not returned either.
        """
        return None if self._divided.concerns(execution_id) else self._hot.peek(execution_id)

    def was_cancelled(self, execution_id: ExecutionId) -> bool:
        """Tell whether an execution that was here last has settled, durably, as cancelled."""
        return execution_id in self._cancelled

    def holds(self, execution_id: ExecutionId) -> bool:
        """Tell whether an execution is in memory; this does not count as a use."""
        return execution_id in self._hot or execution_id in self._ended

    def not_held(self, execution_ids: Iterable[ExecutionId]) -> set[ExecutionId]:
        """Return those of some executions that are not in memory; this does not count as a use."""
        return self._ended.missing(self._hot.missing(execution_ids))

    def evict(self, execution_id: ExecutionId) -> bool:
        """Evict an execution, unless it is used; tell whether it has left."""
        return self._hot.evict(execution_id) or self._ended.evict(execution_id)

    async def is_known(self, execution_id: ExecutionId) -> bool:
        """Tell whether an execution is in memory, perhaps not durable yet, or in the store.

        Raises:
            StoreError: The store cannot be read.
        """
        try:
            in_memory = self.find(execution_id) is not None
            return in_memory or await self._store.load(execution_id, 0) is not None
        except (DamagedError, LargeExecutionError):
            return True

    async def lease(
        self, execution_id: ExecutionId, *, waits: bool = True, reads_large: bool = True
    ) -> ActiveExecution | None:
        """Return an execution, read from the store if needed; None if it is unknown.

        It stays in memory until it is released or dropped.

        Raises:
            NotReadyError: Reading it takes long, and the caller does not wait.
            LargeExecutionError: It is large, not in memory, and not to be read then.
            StoreError: It could not be read.
            DefinitionError: Its definition is no longer valid.
        """
        while True:
            execution = self.find(execution_id)
            if execution is None:
                try:
                    execution = await self._load_once(
                        execution_id, waits=waits, reads_large=reads_large
                    )
                except CreatedMeanwhileError:
                    continue
                if execution is None:
                    return None
            if execution.blocked_by is not None:
                await asyncio.wait({execution.blocked_by})
            elif self._divided.concerns(execution_id):
                await self._divided.over(execution_id)
            elif self.find(execution_id) is execution or not self._ownership.is_own(execution_id):
                execution.begin_lease()
                return execution

    def lease_from_memory(self, execution_id: ExecutionId) -> ActiveExecution | None:
        """Return an execution that is in memory and that calls may build on, else None."""
        execution = self._hot.get(execution_id) or self._ended.get(execution_id)
        if execution is None:
            return None
        if execution.stage is not _ACTIVE and not execution.can_be_leased:
            return None
        execution.begin_lease()
        return execution

    def release(self, execution: ActiveExecution) -> None:
        """End a lease."""
        execution.end_lease()
        if not execution.pending:
            self._see_out(execution)

    def admit(self, execution: ActiveExecution) -> None:
        """Add a new execution, leased; its commands are about to be carried out."""
        execution.begin_lease()
        self.unresumed.discard(execution.state.execution_id)
        self._loading.pop(execution.state.execution_id, None)
        self._hot.put(execution.state.execution_id, execution)

    def revive(self, execution: ActiveExecution) -> None:
        """Note that a settled execution was restarted."""
        execution.move(ActivationEvent.REVIVED)
        self._ended.drop(execution.state.execution_id)
        self._cancelled.pop(execution.state.execution_id, None)
        self._hot.put(execution.state.execution_id, execution)

    def begin_append(self, executions: Sequence[ActiveExecution]) -> OpenAppend:
        """Note that an append is under way, once for each time that an execution is named."""
        return OpenAppend(self, executions)

    def end_append(
        self,
        executions: Sequence[ActiveExecution],
        over: "asyncio.Future[None]",
        *,
        is_written: bool,
    ) -> None:
        """Note that an append is over, and whether memory and store agree."""
        for execution in executions:
            execution.end_append(over)
            if not is_written:
                execution.distrust()
            else:
                if execution.stage is _NEW:
                    execution.move(ActivationEvent.CREATED)
                if execution.lacks_snapshot:
                    self._eviction_writes.write_snapshot(execution)
            if not execution.pending:
                self._see_out(execution)
            self._hot.grown(execution)
        over.set_result(None)

    def distrust(self, execution: ActiveExecution) -> None:
        """Have an execution dropped and read again, because memory may be wrong."""
        execution.distrust()
        if not execution.pending:
            self._see_out(execution)

    def _see_out(self, execution: ActiveExecution) -> None:
        """Go on with an execution of which no append is under way."""
        if execution.stage is _ACTIVE:
            if execution.leases or not execution.settled:
                return
            execution_id = execution.state.execution_id
            if self._hot.get(execution_id) is execution:
                self._hot.drop(execution_id)
                self._settle(execution_id, execution)
        elif execution.stage is _DISTRUSTED:
            self._forget(execution.state.execution_id, execution)

    def _evicted(self, execution: ActiveExecution) -> None:
        self._eviction_writes.left(execution)
        self._ended_left(execution)

    def _ended_left(self, execution: ActiveExecution) -> None:
        self._large.left(execution)
        free_in_portions(execution)

    def _settle(self, execution_id: ExecutionId, execution: ActiveExecution) -> None:
        """Keep a settled execution, and wake whoever waits for that."""
        execution.move(ActivationEvent.REACHED_REST)
        self._ended.put(execution_id, execution)
        if execution.state.cancelled:
            self._cancelled[execution_id] = True
        if execution_id in self._settlements:
            self._settlements.pop(execution_id).set()

    def _forget(self, execution_id: ExecutionId, execution: ActiveExecution) -> None:
        if self.find(execution_id) is execution:
            self._hot.drop(execution_id)
            self._ended.drop(execution_id)
            self._cancelled.pop(execution_id, None)
            if self._ownership.is_own(execution_id):
                self._watch.forgotten(execution_id)
        execution.move(ActivationEvent.FORGOTTEN)
        if execution.forgotten is not None:
            execution.forgotten.set_result(None)

    async def settled(self, execution_id: ExecutionId) -> None:
        """Wait until an execution has ended and owes no notice."""
        execution = await retry_while_unavailable(lambda: self._lease_unless_bad(execution_id))
        if execution is not None:
            self.release(execution)
        execution = self.find(execution_id)
        is_under_way = execution is not None and execution.stage is not Stage.SETTLED
        del execution  # it may leave memory meanwhile
        if is_under_way:
            await self._settlements.setdefault(execution_id, asyncio.Event()).wait()

    def has_settled(self, execution_id: ExecutionId) -> bool:
        """Tell whether an execution in memory has ended and owes no notice, durably."""
        execution = self._ended.get(execution_id)
        return execution is not None and not execution.pending

    async def resume(self, execution_id: ExecutionId) -> None:
        """Carry out what is outstanding of an execution, as soon as it can be read."""
        await retry_while_unavailable(lambda: self.try_to_resume(execution_id))

    async def try_to_resume(self, execution_id: ExecutionId) -> None:
        """Carry out what is outstanding of an execution that was not resumed yet.

        Raises:
            StoreError: It cannot be read now.
        """
        while execution_id in self.unresumed:
            is_own = self._ownership.is_own(execution_id)
            execution = await self._lease_unless_bad(execution_id) if is_own else None
            if execution is None:
                self.unresumed.discard(execution_id)
                return
            under_way = execution.append_under_way
            if under_way is None and not execution.is_distrusted and execution_id in self.unresumed:
                self.unresumed.discard(execution_id)
                self._watch.resumed(execution)
            self.release(execution)
            if under_way is not None:
                await asyncio.wait({under_way})

    async def _lease_unless_bad(self, execution_id: ExecutionId) -> ActiveExecution | None:
        """Lease an execution; None if it cannot be read at any time.

        Raises:
            StoreError: It cannot be read now.
        """
        try:
            return await self.lease(execution_id)
        except StoreError:
            raise
        except CrashedError:
            return None
        except Exception:
            log.exception("activation_failed", extra={"execution_id": execution_id})
            return None

    async def _load_once(
        self, execution_id: ExecutionId, *, waits: bool, reads_large: bool
    ) -> ActiveExecution | None:
        loading = self._loading.get(execution_id)
        if loading is None:
            loading = Loading(self._load(execution_id, waits=waits, reads_large=reads_large))
            self._loading[execution_id] = loading
        elif not waits:
            raise NotReadyError(f"{execution_id} is being read")
        try:
            return await loading.wait()
        except NotReadyError:
            if not waits:
                raise
        except LargeExecutionError:
            if not reads_large:
                raise
        return await self._load_once(execution_id, waits=True, reads_large=reads_large)

    async def _load(
        self, execution_id: ExecutionId, *, waits: bool, reads_large: bool
    ) -> ActiveExecution | None:
        read_whole = partial(self._read, execution_id, None, waits=True)
        try:
            is_heavy = self._large.is_large(execution_id)
            if is_heavy and waits and reads_large:
                return await self._large.read(execution_id, read_whole)
            most_bytes = 0 if is_heavy else LARGE_BYTES
            async with self._places.place(workspace_of(execution_id)) if waits else nullcontext():
                return await self._read(execution_id, most_bytes, waits=waits)
        except LargeExecutionError as error:
            if not reads_large:
                raise
            if not waits:
                raise NotReadyError(str(error)) from error
            self._large.found_large(execution_id)
            return await self._large.read(execution_id, read_whole)
        finally:
            if self._is_loading(execution_id):
                del self._loading[execution_id]

    def _is_loading(self, execution_id: ExecutionId) -> bool:
        """Tell whether this task is the one whose result counts."""
        loading = self._loading.get(execution_id)
        return loading is not None and loading.task is asyncio.current_task()

    async def _read(
        self, execution_id: ExecutionId, most_bytes: int | None, *, waits: bool
    ) -> ActiveExecution | None:
        stored = await self._stored(execution_id, most_bytes)
        if stored is None:
            if not self._is_loading(execution_id):
                raise CreatedMeanwhileError(execution_id)
            return None
        if not waits and is_long(stored):
            raise NotReadyError(f"{execution_id} has a long journal")
        business, definition_id = workspace_of(execution_id), stored.definition_id
        plan = await self.plans.get(definition_id, waits=waits, workspace=business)
        execution = await self._replay(plan, stored)
        if not self._ownership.is_own(execution_id):
            # Its own owner may change it, so it is read anew each time.
            return execution
        if not self._is_loading(execution_id):
            raise CreatedMeanwhileError(execution_id)
        self._loading[execution_id].keep(execution)
        self._large.kept.read(execution)
        self._eviction_writes.replayed(execution)
        if execution.settled:
            self._settle(execution_id, execution)
        else:
            self._cancelled.pop(execution_id, None)
            self._hot.put(execution_id, execution)
        if execution_id in self.unresumed:
            self.unresumed.discard(execution_id)
            self._watch.resumed(execution)
        return execution

    async def _stored(
        self, execution_id: ExecutionId, most_bytes: int | None
    ) -> StoredExecution | None:
        await self._refuse_fatal(execution_id)
        try:
            return await self._store.load(execution_id, most_bytes)
        except DamagedError as error:
            raise self._unreadable(execution_id, error, f": {error}") from error

    async def _refuse_fatal(self, execution_id: ExecutionId) -> None:
        if not self._ownership.is_own(execution_id):
            # Its own owner may have crashed because of it since this owner has started.
            await self._crashes.look_again(execution_id)
        self._crashes.refuse(execution_id)

    async def _replay(self, plan: Plan, stored: StoredExecution) -> ActiveExecution:
        """Replay an execution; it touches nothing else, so any error is that execution's own."""
        try:
            return await self._replays.replayed(plan, stored)
        except StoreError as error:
            raise self._unreadable(stored.execution_id, error, f": {error}") from error
        except Exception as error:
            raise self._unreadable(stored.execution_id, error) from error

    def _unreadable(self, execution_id: ExecutionId, error: Exception, why: str = "") -> Exception:
        """Count a crash of this execution, because the store itself can be read."""
        self._watch.crashed(execution_id, error)
        return CrashedError(f"{execution_id} cannot be read{why}")
