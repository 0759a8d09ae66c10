"""The memory budget of a dispatcher for the inputs of Ray calls, which the object store holds.

Used by `ray_tasks/gateway.py`.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class InputBudget:
    """Counts the bytes of inputs under way; a call waits for room, in the order of arrival."""

    def __init__(self, most_bytes: int) -> None:
        """Hold so many bytes; a larger input goes alone."""
        self._most = most_bytes
        self._held = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def room(self, size_bytes: int) -> AsyncIterator[None]:
        """Hold room for an input."""
        await self._take(size_bytes)
        try:
            yield
        finally:
            self._give(size_bytes)

    async def _take(self, size_bytes: int) -> None:
        if not self._waiting and self._has_room(size_bytes):
            self._held += size_bytes
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size_bytes, granted))
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self._give(size_bytes)
            else:
                granted.cancel()
                self._grant()
            raise

    def _has_room(self, size_bytes: int) -> bool:
        return not self._held or self._held + size_bytes <= self._most

    def _give(self, size_bytes: int) -> None:
        self._held -= size_bytes
        self._grant()

    def _grant(self) -> None:
        while self._waiting:
            size_bytes, granted = self._waiting[0]
            if granted.cancelled():
                self._waiting.popleft()
            elif self._has_room(size_bytes):
                self._waiting.popleft()
                self._held += size_bytes
                granted.set_result(None)
            else:
                return
