"""Places of which each workspace has the same number; who finds none waits for one of its own.

Used by `runtime/activation/cache.py`, `runtime/aio/large_texts.py`,
`runtime/definitions/catalogue.py` and `serve/limits/unanswered_requests.py`.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

MOST_OF_ONE: Final = 64
"""So many executions, or definitions, of a workspace have been read and wait for what follows."""


class WorkspacePlaces:
    """Holds back work of a workspace before it takes memory, beyond a number of works at a time."""

    def __init__(self, most_of_one: int = MOST_OF_ONE) -> None:
        """Give each workspace so many places."""
        self._most_of_one = most_of_one
        self._places: dict[str, asyncio.Semaphore] = {}
        self._users: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._places)

    @asynccontextmanager
    async def place(self, workspace: str) -> AsyncIterator[None]:
        """Wait for a place, in order, and keep it until the block ends."""
        leave = await self.take(workspace)
        try:
            yield
        finally:
            leave()

    async def take(self, workspace: str) -> Callable[[], None]:
        """Wait for a place, in order; return what gives it back, to be called once."""
        places = self._places.get(workspace)
        if places is None:
            places = self._places[workspace] = asyncio.Semaphore(self._most_of_one)
        self._users[workspace] += 1
        try:
            await places.acquire()
        except BaseException:
            self._has_left(workspace)
            raise

        def leave() -> None:
            places.release()
            self._has_left(workspace)

        return leave

    def _has_left(self, workspace: str) -> None:
        self._users[workspace] -= 1
        if not self._users[workspace]:
            del self._users[workspace], self._places[workspace]
