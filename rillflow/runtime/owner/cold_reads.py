"""Bounds how many executions are brought into memory at a time for those who only read them.

An execution that is in use stays in memory, whatever the limit of executions in memory says. So a
reader who waits for an execution that is not in memory takes a place first, and keeps it until the
answer is made. Those who wait for the same execution share a place: it is read, and its views are
encoded, once for all of them. Calls that change an execution take none.

Used by `runtime/owner/execution_owner.py`.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from rillflow.errors import UnreadAnswersError
from rillflow.ids import ExecutionId

MOST_AT_ONCE: Final = 2
"""So that a reader whose execution takes long does not delay all others."""
MOST_WAITING: Final = 256
LONGEST_WAIT_S: Final = 30.0
"""How long a reader waits for a place; its own caller may have left long before."""


class _Turn:
    """A place, or the wait for one, of all readers of one execution."""

    __slots__ = ("granted", "readers")

    def __init__(self) -> None:
        self.readers = 0
        self.granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class ColdReads:
    """The places of readers whose executions are not in memory."""

    def __init__(self) -> None:
        self._free = MOST_AT_ONCE
        self._turns: dict[ExecutionId, _Turn] = {}
        self._queue: OrderedDict[ExecutionId, _Turn] = OrderedDict()
        self._waiting = 0

    @asynccontextmanager
    async def place(self, execution_id: ExecutionId) -> AsyncIterator[None]:
        """Hold a place, once there is one, together with other readers of the same execution.

        Raises:
            UnreadAnswersError: Too many wait, or there was none in time.
        """
        if self._waiting >= MOST_WAITING:
            raise UnreadAnswersError(_REFUSED)
        turn = self._join(execution_id)
        try:
            await self._granted(turn)
            yield
        finally:
            self._leave(execution_id, turn)

    async def _granted(self, turn: _Turn) -> None:
        self._waiting += 1
        try:
            await asyncio.wait({turn.granted}, timeout=LONGEST_WAIT_S)
        finally:
            self._waiting -= 1
        if not turn.granted.done():
            raise UnreadAnswersError(_REFUSED)

    def _join(self, execution_id: ExecutionId) -> _Turn:
        turn = self._turns.get(execution_id)
        if turn is None:
            turn = self._turns[execution_id] = self._queue[execution_id] = _Turn()
            self._grant()
        turn.readers += 1
        return turn

    def _leave(self, execution_id: ExecutionId, turn: _Turn) -> None:
        turn.readers -= 1
        if not turn.readers:
            del self._turns[execution_id]
            if self._queue.pop(execution_id, None) is None:
                self._free += 1
                self._grant()

    def _grant(self) -> None:
        while self._free and self._queue:
            _, turn = self._queue.popitem(last=False)
            self._free -= 1
            turn.granted.set_result(None)


_REFUSED: Final = "too many executions that are not in memory are being read; try again later"
