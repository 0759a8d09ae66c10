"""Bounds how many executions are brought into memory at a time for those who only read them.

An execution that is in use stays in memory, whatever the limit of executions in memory says. So a
reader who waits for an execution that is not in memory takes a place first, and keeps it until the
answer is made. Calls that change an execution take none.

Used by `runtime/owner/execution_owner.py`.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from rillflow.errors import UnreadAnswersError

MOST_AT_ONCE: Final = 2
"""So that a reader whose execution takes long does not delay all others."""
MOST_WAITING: Final = 256
LONGEST_WAIT_S: Final = 30.0
"""How long a reader waits for a place; its own caller may have left long before."""


class ColdReads:
    """The places of readers whose executions are not in memory."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(MOST_AT_ONCE)
        self._waiting = 0

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a place, once there is one.

        Raises:
            UnreadAnswersError: Too many wait, or there was none in time.
        """
        if self._waiting >= MOST_WAITING:
            raise UnreadAnswersError(_REFUSED)
        self._waiting += 1
        try:
            async with asyncio.timeout(LONGEST_WAIT_S):
                await self._places.acquire()
        except TimeoutError:
            raise UnreadAnswersError(_REFUSED) from None
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._places.release()


_REFUSED: Final = "too many executions that are not in memory are being read; try again later"
