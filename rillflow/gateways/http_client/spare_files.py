"""Open files that are kept for connections to functions.

A process has so many files. Whoever reaches one of its ports, such as another user of this machine
those of Ray, uses them up by connections that say nothing, and no certificate keeps it from that. A
connection to a function then takes the place of a file that was kept. When there is none, it waits:
no function has failed.

Used by `gateways/http_client/pool.py`.
"""

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from rillflow.backoff import Backoff

MOST: Final = 64
"""So many connections go on while the process has no other file."""
FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 1.0
_NO_FILE: Final = (errno.EMFILE, errno.ENFILE)

Made = TypeVar("Made")


class SpareFiles:
    """Open files that nobody reads."""

    def __init__(self, most: int = MOST) -> None:
        """Open so many, or as many as there are."""
        self._most = most
        self._files: list[int] = []
        self.fill()

    def __len__(self) -> int:
        return len(self._files)

    def fill(self) -> None:
        """Open files in the place of those that were given up, as far as there are any."""
        try:
            while len(self._files) < self._most:
                self._files.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            return

    def close(self) -> None:
        """Close all, for good."""
        self._most = 0
        while self._give_up_one():
            pass

    async def make(self, what: Callable[[], Awaitable[Made]]) -> Made:
        """Make something that needs a file; wait while there is none.

        Raises:
            OSError: It failed for another reason.
        """
        pauses = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        while True:
            try:
                return await what()
            except OSError as error:
                if error.errno not in _NO_FILE:
                    raise
            if not self._give_up_one():
                await asyncio.sleep(pauses.next_s())
                self.fill()

    def _give_up_one(self) -> bool:
        if not self._files:
            return False
        os.close(self._files.pop())
        return True
