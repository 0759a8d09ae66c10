"""Large executions: they are read one at a time, and stay in memory for a while then.

Reading one takes as long as hundreds of its events, and as much memory as all others may. So the
next one is read when those that were read before it have had their time, workspaces in turn, and
others give way before it is read. What takes more than there is leaves when it is not used.

Used by `runtime/activation/cache.py`.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Final, TypeAlias

from cachetools import LRUCache

from rillflow.ids import ExecutionId, workspace_of
from rillflow.runtime.activation.active_execution import ActiveExecution
from rillflow.runtime.activation.hot_executions import HotExecutions, memory_of
from rillflow.runtime.activation.kept_executions import KeptExecutions
from rillflow.runtime.activation.replays import LARGE_BYTES
from rillflow.runtime.aio.sender_turns import SenderTurns
from rillflow.runtime.crashes.crash_history import REPLAY, CrashHistory

MOST_KNOWN: Final = 4_096
"""Of so many executions that have left memory it is known whether they are large."""
RESIDENCE: Final = 2
"""A large execution stays so many times as long as reading it took, before the next one is read."""
LONGEST_RESIDENCE_S: Final = 5.0
Read: TypeAlias = Callable[[], Awaitable[ActiveExecution | None]]
Room: TypeAlias = Callable[[], AbstractAsyncContextManager[None]]


class LargeReads:
    """The reads of large executions of one owner, and which of these stay in memory."""

    def __init__(
        self,
        hot: HotExecutions,
        ended: HotExecutions,
        crashes: CrashHistory,
        *,
        release: Callable[[ActiveExecution], None],
        room: Room,
    ) -> None:
        """Begin with none; ``release`` ends the lease of one that was kept."""
        self.kept = KeptExecutions(release)
        self._hot = hot
        self._ended = ended
        self._crashes = crashes
        self._room = room
        # A short journal may make a large execution.
        self._weights = LRUCache[ExecutionId, int](MOST_KNOWN)
        self._turns = SenderTurns(most=sys.maxsize, refusal="never refused")
        self._waiting = 0
        self._resident_until_s = 0.0
        self._watched: set[ExecutionId] = set()
        hot.still_too_much = self._watch_hot
        ended.still_too_much = self._watch_ended

    def is_large(self, execution_id: ExecutionId) -> bool | None:
        """Tell whether an execution was large when it left memory, None if that is not known."""
        weight = self._weights.get(execution_id)
        return None if weight is None else weight > LARGE_BYTES

    def found_large(self, execution_id: ExecutionId) -> None:
        """Note that an execution is large."""
        self._weights.setdefault(execution_id, LARGE_BYTES + 1)

    def left(self, execution: ActiveExecution) -> None:
        """Note what an execution weighs that leaves memory."""
        execution_id = execution.state.execution_id
        self._weights[execution_id] = execution.weight_bytes

    def kept_if_large(self, execution_id: ExecutionId) -> AbstractContextManager[None] | None:
        """Return what keeps an execution in memory once it was read, if it was large when it left.

        No other large one is read meanwhile, for some seconds.
        """
        return self.kept.begin(execution_id) if self.is_large(execution_id) else None

    async def read(self, execution_id: ExecutionId, read: Read) -> ActiveExecution | None:
        """Read a large execution when it is its turn; it stays for a while."""
        loop = asyncio.get_running_loop()
        self._waiting += 1
        try:
            workspace = workspace_of(execution_id)
            async with self._turns.turn(workspace):
                await self._others_over(execution_id)
                needed_bytes = memory_of(self._weights.get(execution_id, LARGE_BYTES))
                async with self._room():
                    begun_s = loop.time()
                    reserved = self._hot.reserved(workspace, needed_bytes)
                    with self._crashes.beside(execution_id, REPLAY), reserved:
                        execution = await read()
                if execution is not None:
                    self._stay(execution, loop.time() - begun_s)
                return execution
        finally:
            self._waiting -= 1

    async def _others_over(self, execution_id: ExecutionId) -> None:
        """Wait until those that were read before have had their time."""
        loop = asyncio.get_running_loop()
        if self._hot.is_full or self._ended.is_full:
            await self.kept.others_over(execution_id, LONGEST_RESIDENCE_S)
        if self._hot.is_full and loop.time() < self._resident_until_s:
            await asyncio.sleep(self._resident_until_s - loop.time())

    def _stay(self, execution: ActiveExecution, took_s: float) -> None:
        residence_s = min(RESIDENCE * took_s, LONGEST_RESIDENCE_S)
        if execution.settled:
            self._look_later(self._ended, execution)
            return
        self._resident_until_s = asyncio.get_running_loop().time() + residence_s
        self._hot.stay(execution.state.execution_id)
        self._look_later(self._hot, execution, residence_s)

    def _watch_hot(self, execution: ActiveExecution) -> None:
        self._watch(self._hot, execution)

    def _watch_ended(self, execution: ActiveExecution) -> None:
        self._watch(self._ended, execution)

    def _watch(self, among: HotExecutions, execution: ActiveExecution) -> None:
        is_large = execution.weight_bytes > LARGE_BYTES
        if is_large and execution.state.execution_id not in self._watched:
            self._look_later(among, execution)

    def _look_later(
        self,
        among: HotExecutions,
        execution: ActiveExecution,
        after_s: float = LONGEST_RESIDENCE_S,
    ) -> None:
        execution_id, written = execution.state.execution_id, execution.written
        self._watched.add(execution_id)
        loop = asyncio.get_running_loop()
        loop.call_later(after_s, self._look, among, execution_id, written)

    def _look(self, among: HotExecutions, execution_id: ExecutionId, written: int) -> None:
        """Have an execution leave that was not used, if there is more in memory than may be."""
        self._watched.discard(execution_id)
        among.let_go(execution_id)
        execution = among.peek(execution_id)
        if execution is None or not among.is_over:
            return
        if execution.written != written or not among.evict(execution_id):
            self._look_later(among, execution)
