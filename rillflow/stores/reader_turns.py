"""Places of which there are few: readers, or other senders, get the next one in rotation.

Used by `runtime/aio/sender_turns.py` and `stores/postgres/database.py`.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class ReaderTurns:
    """A few places, of which each reader has some; whoever waits is never refused.

    A reader is a workspace, or whoever else is told apart. Whoever waits, waits for one place of
    each other reader at most, however many those wait for. It belongs to one event loop.
    """

    def __init__(self, places: int, *, most_of_one: int) -> None:
        """Give ``places``, and ``most_of_one`` of them at the same time to one reader."""
        self._free = places
        self._most_of_one = most_of_one
        self._held: dict[str, int] = {}
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def place(self, reader: str) -> AsyncIterator[None]:
        """Wait for a place, and keep it until the block ends."""
        if self._may_begin(reader):
            self._begin(reader)
        else:
            await self._wait(reader)
        try:
            yield
        finally:
            self._end(reader)

    def _may_begin(self, reader: str) -> bool:
        return self._free > 0 and self._held.get(reader, 0) < self._most_of_one

    def _begin(self, reader: str) -> None:
        self._free -= 1
        self._held[reader] = self._held.get(reader, 0) + 1

    async def _wait(self, reader: str) -> None:
        granted = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(reader, deque()).append(granted)
        try:
            await granted
        except asyncio.CancelledError:
            if granted.cancelled():
                self._give_up(reader, granted)
            else:
                self._end(reader)
            raise

    def _give_up(self, reader: str, granted: "asyncio.Future[None]") -> None:
        queue = self._waiting[reader]
        queue.remove(granted)
        if not queue:
            del self._waiting[reader]

    def _end(self, reader: str) -> None:
        """Give the place to the reader that has waited longest for one, or to nobody.

        One that has left since, and does not know it yet, is passed over.
        """
        self._free += 1
        self._held[reader] -= 1
        if not self._held[reader]:
            del self._held[reader]
        for other, queue in self._waiting.items():
            granted = next((each for each in queue if not each.done()), None)
            if granted is not None and self._may_begin(other):
                queue.remove(granted)
                del self._waiting[other]
                if queue:
                    self._waiting[other] = queue  # now the last one
                self._begin(other)
                granted.set_result(None)
                return
