"""The executions in memory: each at most once, and none that the store may contradict."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final

from rillflow.core import codec
from rillflow.core.plan import Plan
from rillflow.errors import CrashedError, DamagedError, StoreError
from rillflow.gateways.messages.threads import in_thread
from rillflow.ids import ExecutionId
from rillflow.ports.store import Store, StoredExecution
from rillflow.runtime.activation.active_execution import ActiveExecution, Plans
from rillflow.runtime.activation.fencing import OwnerEpoch
from rillflow.runtime.activation.hot_executions import HotExecutions
from rillflow.runtime.activation.passivation import Passivation
from rillflow.runtime.activation.replay import Replay
from rillflow.runtime.aio.fair_turns import FairTurns
from rillflow.runtime.aio.retrying import retry_while_unavailable
from rillflow.runtime.crashes.crash_history import CrashHistory
from rillflow.runtime.crashes.handling_record import REPLAY

log = logging.getLogger("rillflow.activation")

MOST_ENDED: Final = 512
LARGE_SNAPSHOT_BYTES: Final = 1 << 20
"""Snapshots beyond this size are decoded by a thread, part by part."""
SHARE_OF_ENDED: Final = 8
"""Ended executions get at most this part of the memory that the others have."""


class _CreatedMeanwhileError(Exception):
    """What was read is out of date: somebody has created the execution since."""


class ActivationCache:
    """Brings executions into memory, and sees them out.

    A call borrows what it is about, and while an execution is borrowed or has appends
    under way it stays. When an append fails, nobody knows what the store holds: the
    execution is forgotten once its last append is over, and until then nobody gets it.
    ``resumed`` is called with an execution whose outstanding commands are to be carried
    out, ``forgotten`` with the id of one that must be resumed, ``crashed`` with the reason
    why one could not be made of what is stored. ``passivation`` sees to those that had to make
    room. What ``deaths`` has set apart is not read. A replay takes as many ``turns`` of the
    event loop as it needs, in which the other executions have theirs.
    """

    def __init__(  # noqa: PLR0913 - what it tells goes to different places
        self,
        store: Store,
        ownership: OwnerEpoch,
        *,
        most_hot: int,
        hot_bytes: int,
        resumed: Callable[[ActiveExecution], None],
        forgotten: Callable[[ExecutionId], None],
        crashed: Callable[[ExecutionId, Exception], None],
        passivation: Passivation,
        deaths: CrashHistory,
        turns: FairTurns,
    ) -> None:
        self._store = store
        self._deaths = deaths
        self._ownership = ownership
        self._resumed = resumed
        self._forgotten = forgotten
        self._crashed = crashed
        self._passivation = passivation
        self._turns = turns
        self.plans = Plans(store)
        self.unresumed: set[ExecutionId] = set()
        self._hot = HotExecutions(most_hot, hot_bytes, passivation.left)
        self._ended = HotExecutions(MOST_ENDED, hot_bytes // SHARE_OF_ENDED)
        self._loading: dict[ExecutionId, asyncio.Task[ActiveExecution | None]] = {}
        self._settlements: dict[ExecutionId, asyncio.Event] = {}

    @property
    def active(self) -> int:
        """How many executions are in memory and have not settled."""
        return len(self._hot)

    async def stop(self) -> None:
        """Give up what is being read."""
        loading = list(self._loading.values())
        for task in loading:
            task.cancel()
        await asyncio.gather(*loading, return_exceptions=True)

    def find(self, execution_id: ExecutionId) -> ActiveExecution | None:
        """Return an execution that is in memory; it may be about to be forgotten."""
        return self._hot.get(execution_id) or self._ended.get(execution_id)

    def holds(self, execution_id: ExecutionId) -> bool:
        """Tell whether an execution is in memory, which is no use of it."""
        return execution_id in self._hot or execution_id in self._ended

    async def is_known(self, execution_id: ExecutionId) -> bool:
        """Tell whether an execution is in memory, perhaps not durable yet, or in the store.

        Raises:
            StoreError: The store cannot be read.
        """
        try:
            in_memory = self.find(execution_id) is not None
            return in_memory or await self._store.load(execution_id) is not None
        except DamagedError:
            return True

    async def borrow(self, execution_id: ExecutionId) -> ActiveExecution | None:
        """Return an execution, read from the store when needed; None when unknown.

        It stays in memory until it is given back, or until it is forgotten.

        Raises:
            StoreError: It could not be read.
            DefinitionError: Its definition is no longer valid.
        """
        while True:
            hosted = self.find(execution_id)
            if hosted is None:
                try:
                    hosted = await self._load_once(execution_id)
                except _CreatedMeanwhileError:
                    continue
                if hosted is None:
                    return None
            waits = hosted.gone or (hosted.append_under_way if hosted.is_new else None)
            if waits is not None:
                await asyncio.wait({waits})
            elif self.find(execution_id) is hosted or self._ownership.is_elsewhere(execution_id):
                hosted.borrowers += 1
                return hosted

    def admit(self, hosted: ActiveExecution) -> None:
        """Take a new execution into memory, borrowed; its commands are about to be carried out."""
        hosted.borrowers += 1
        self.unresumed.discard(hosted.state.execution_id)
        self._loading.pop(hosted.state.execution_id, None)
        self._hot.put(hosted.state.execution_id, hosted)

    def revive(self, hosted: ActiveExecution) -> None:
        """Note that an execution that had settled goes on."""
        self._ended.drop(hosted.state.execution_id)
        self._hot.put(hosted.state.execution_id, hosted)

    def give_back(self, hosted: ActiveExecution) -> None:
        """End a borrowing."""
        hosted.borrowers -= 1
        self._rest(hosted)

    def begin_append(self, touched: Iterable[ActiveExecution]) -> "asyncio.Future[None]":
        """Note that an append is under way; the future is done when it is over."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for hosted in touched:
            hosted.pending += 1
            hosted.append_under_way = done
        return done

    def end_append(
        self, touched: Iterable[ActiveExecution], done: "asyncio.Future[None]", *, written: bool
    ) -> None:
        """Note that an append is over, and whether memory and store agree."""
        for hosted in touched:
            hosted.pending -= 1
            if hosted.append_under_way is done:
                hosted.append_under_way = None
            if written:
                hosted.is_new = False
                if hosted.lacks_snapshot:
                    self._passivation.write_snapshot(hosted)
            else:
                self.distrust(hosted)
            self._rest(hosted)
            if self._hot.get(hosted.state.execution_id) is hosted:
                self._hot.weigh(hosted)
        done.set_result(None)

    def distrust(self, hosted: ActiveExecution) -> None:
        """Have an execution forgotten, and read again, because memory may be wrong."""
        if hosted.gone is None:
            hosted.gone = asyncio.get_running_loop().create_future()
        self._rest(hosted)

    def _rest(self, hosted: ActiveExecution) -> None:
        if hosted.pending:
            return
        execution_id = hosted.state.execution_id
        if hosted.gone is not None:
            self._forget(execution_id, hosted)
        elif hosted.settled and not hosted.borrowers and self._hot.get(execution_id) is hosted:
            self._hot.drop(execution_id)
            self._settle(execution_id, hosted)

    def _settle(self, execution_id: ExecutionId, hosted: ActiveExecution) -> None:
        """Keep an execution that has settled, as the store knows, and tell who waits for that."""
        self._ended.put(execution_id, hosted)
        if execution_id in self._settlements:
            self._settlements.pop(execution_id).set()

    def _forget(self, execution_id: ExecutionId, hosted: ActiveExecution) -> None:
        if self.find(execution_id) is hosted:
            self._hot.drop(execution_id)
            self._ended.drop(execution_id)
            if not self._ownership.is_elsewhere(execution_id):
                self._forgotten(execution_id)
        if hosted.gone is not None and not hosted.gone.done():
            hosted.gone.set_result(None)

    async def settled(self, execution_id: ExecutionId) -> None:
        """Wait until an execution has ended and owes nobody a notice."""
        hosted = await retry_while_unavailable(lambda: self._borrow_unless_bad(execution_id))
        if hosted is not None:
            self.give_back(hosted)
        hosted = self.find(execution_id)
        if hosted is not None and not (hosted.settled and self._ended.get(execution_id) is hosted):
            await self._settlements.setdefault(execution_id, asyncio.Event()).wait()

    def has_settled(self, execution_id: ExecutionId) -> bool:
        """Tell whether an execution in memory has ended and owes nobody a notice, durably."""
        hosted = self._ended.get(execution_id)
        return hosted is not None and hosted.settled and not hosted.pending and hosted.gone is None

    async def resume(self, execution_id: ExecutionId) -> None:
        """Carry out what is outstanding of an execution, as soon as it can be read."""
        await retry_while_unavailable(lambda: self.try_to_resume(execution_id))

    async def try_to_resume(self, execution_id: ExecutionId) -> None:
        """Carry out what is outstanding of an execution that has not been resumed.

        Raises:
            StoreError: It cannot be read now.
        """
        while execution_id in self.unresumed:
            is_elsewhere = self._ownership.is_elsewhere(execution_id)
            hosted = None if is_elsewhere else await self._borrow_unless_bad(execution_id)
            if hosted is None:
                self.unresumed.discard(execution_id)
                return
            under_way = hosted.append_under_way
            if under_way is None and hosted.gone is None and execution_id in self.unresumed:
                self.unresumed.discard(execution_id)
                self._resumed(hosted)
            self.give_back(hosted)
            if under_way is not None:
                await asyncio.wait({under_way})

    async def _borrow_unless_bad(self, execution_id: ExecutionId) -> ActiveExecution | None:
        """Borrow an execution; None when it cannot be had, however often one tries.

        Raises:
            StoreError: It cannot be read now.
        """
        try:
            return await self.borrow(execution_id)
        except StoreError:
            raise
        except CrashedError:
            return None
        except Exception:
            log.exception("activation_failed", extra={"execution_id": execution_id})
            return None

    async def _load_once(self, execution_id: ExecutionId) -> ActiveExecution | None:
        loading = self._loading.get(execution_id)
        if loading is None:
            loading = asyncio.create_task(self._load(execution_id))
            self._loading[execution_id] = loading
        return await asyncio.shield(loading)

    async def _load(self, execution_id: ExecutionId) -> ActiveExecution | None:
        try:
            return await self._read(execution_id)
        finally:
            if self._is_loading(execution_id):
                del self._loading[execution_id]

    def _is_loading(self, execution_id: ExecutionId) -> bool:
        """Tell whether this task is the one whose result counts."""
        return self._loading.get(execution_id) is asyncio.current_task()

    async def _read(self, execution_id: ExecutionId) -> ActiveExecution | None:
        await self._refuse_fatal(execution_id)
        try:
            stored = await self._store.load(execution_id)
        except DamagedError as error:
            raise self._unreadable(execution_id, error, f": {error}") from error
        if stored is None:
            if not self._is_loading(execution_id):
                raise _CreatedMeanwhileError(execution_id)
            return None
        hosted = await self._replay(await self.plans.get(stored.definition_id), stored)
        if self._ownership.is_elsewhere(execution_id):
            # Its own home may come back and change it, so it is read anew each time.
            return hosted
        if not self._is_loading(execution_id):
            raise _CreatedMeanwhileError(execution_id)
        self._passivation.replayed(hosted)
        if hosted.settled:
            self._settle(execution_id, hosted)
        else:
            self._hot.put(execution_id, hosted)
        if execution_id in self.unresumed:
            self.unresumed.discard(execution_id)
            self._resumed(hosted)
        return hosted

    async def _refuse_fatal(self, execution_id: ExecutionId) -> None:
        if self._ownership.is_elsewhere(execution_id):
            # Its own home may have died of it since this one has started.
            await self._deaths.look_again(execution_id)
        self._deaths.refuse(execution_id)

    async def _replay(self, plan: Plan, stored: StoredExecution) -> ActiveExecution:
        """Make an execution of what is stored; it touches nothing else, so any error is its own."""
        execution_id, snapshot, state = stored.execution_id, stored.snapshot, None
        try:
            if snapshot is not None and len(snapshot) > LARGE_SNAPSHOT_BYTES:
                state = await in_thread(lambda: codec.decode_large_state(snapshot))
            replay = Replay(plan, stored, state)
            steps = self._deaths.during_each(execution_id, REPLAY, replay.steps())
            await self._turns.spread(execution_id, steps)
            return replay.execution()
        except Exception as error:
            raise self._unreadable(execution_id, error) from error

    def _unreadable(self, execution_id: ExecutionId, error: Exception, why: str = "") -> Exception:
        """Count a crash of this execution, since the store as such can be read."""
        self._crashed(execution_id, error)
        return CrashedError(f"{execution_id} cannot be read{why}")
