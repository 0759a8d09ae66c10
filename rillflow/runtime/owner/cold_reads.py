"""Bounds how many executions are brought into memory at a time for those who only read them.

An execution that is in use stays in memory, whatever the limit of executions in memory says. So a
reader who waits for an execution that is not in memory takes a place first, and keeps it until the
answer is made. Those who wait for the same execution share a place: it is read, and its views are
encoded, once for all of them. Calls that change an execution take none.

Workspaces take the places in turn, and one is kept for a workspace that has none: so reads that
take long, however many a workspace asks for, do not hold up those of others.

Used by `runtime/owner/execution_owner.py`.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, TypeAlias

from rillflow.errors import UnreadAnswersError
from rillflow.ids import ExecutionId, workspace_of

MOST_AT_ONCE: Final = 2
"""So that a reader whose execution takes long does not delay all others."""
MOST_WITH_OTHERS: Final = 3
"""Where these have the places, a workspace that has none gets one more."""
MOST_WAITING: Final = 512
"""Readers that wait; a half of them may be of one workspace, and as many more be its first."""
LONGEST_WAIT_S: Final = 30.0
"""How long a reader waits for a place; its own caller may have left long before."""


class _Turn:
    """A place, or the wait for one, of all readers of one execution."""

    __slots__ = ("granted", "readers")

    def __init__(self) -> None:
        self.readers = 0
        self.granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()


_Queue: TypeAlias = OrderedDict[ExecutionId, _Turn]


class ColdReads:
    """The places of readers whose executions are not in memory."""

    def __init__(self) -> None:
        self._held = Counter[str]()
        """How many places each workspace has."""
        self._turns: dict[ExecutionId, _Turn] = {}
        self._queues: OrderedDict[str, _Queue] = OrderedDict()
        """Who waits, by workspace, the one whose turn it was last at the end."""
        self._waiting = Counter[str]()

    @asynccontextmanager
    async def place(self, execution_id: ExecutionId) -> AsyncIterator[None]:
        """Hold a place, once there is one, together with other readers of the same execution.

        Raises:
            UnreadAnswersError: Too many wait, or there was none in time.
        """
        of_one = self._waiting[workspace_of(execution_id)]
        most = MOST_WAITING if of_one else 2 * MOST_WAITING
        if of_one >= MOST_WAITING // 2 or self._waiting.total() >= most:
            raise UnreadAnswersError(_REFUSED)
        turn = self._join(execution_id)
        try:
            await self._granted(execution_id, turn)
            yield
        finally:
            self._leave(execution_id, turn)

    async def _granted(self, execution_id: ExecutionId, turn: _Turn) -> None:
        workspace = workspace_of(execution_id)
        self._waiting[workspace] += 1
        try:
            await asyncio.wait({turn.granted}, timeout=LONGEST_WAIT_S)
        finally:
            _less(self._waiting, workspace)
        if not turn.granted.done():
            raise UnreadAnswersError(_REFUSED)

    def _join(self, execution_id: ExecutionId) -> _Turn:
        turn = self._turns.get(execution_id)
        if turn is None:
            turn = self._turns[execution_id] = _Turn()
            self._queues.setdefault(workspace_of(execution_id), OrderedDict())[execution_id] = turn
            self._grant()
        turn.readers += 1
        return turn

    def _leave(self, execution_id: ExecutionId, turn: _Turn) -> None:
        turn.readers -= 1
        if turn.readers:
            return
        workspace = workspace_of(execution_id)
        del self._turns[execution_id]
        if turn.granted.done():
            _less(self._held, workspace)
            self._grant()
        else:
            self._take_first(workspace, execution_id)

    def _grant(self) -> None:
        while (workspace := self._next()) is not None:
            turn = self._take_first(workspace)
            self._held[workspace] += 1
            turn.granted.set_result(None)

    def _next(self) -> str | None:
        """Return the workspace whose turn it is, None if there is no place for any that waits."""
        used = self._held.total()
        if used >= MOST_WITH_OTHERS:
            return None
        waiting = (each for each in self._queues if used < MOST_AT_ONCE or not self._held[each])
        return next(waiting, None)

    def _take_first(self, workspace: str, execution_id: ExecutionId | None = None) -> _Turn:
        """Take the first turn, or that of an execution, out of the queue of its workspace."""
        queue = self._queues[workspace]
        turn = queue.popitem(last=False)[1] if execution_id is None else queue.pop(execution_id)
        if not queue:
            del self._queues[workspace]
        elif execution_id is None:
            self._queues.move_to_end(workspace)
        return turn


def _less(counts: Counter[str], workspace: str) -> None:
    counts[workspace] -= 1
    if not counts[workspace]:
        del counts[workspace]


_REFUSED: Final = "too many executions that are not in memory are being read; try again later"
