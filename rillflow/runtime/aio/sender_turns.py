"""Work that few do at a time: the senders that wait for it get their turns in a fair order.

Used by `runtime/activation`, `runtime/definitions/trigger_room.py`, `runtime/dispatch`,
`runtime/histories/cache.py`, `runtime/searches.py`, `runtime/triggers/trigger_lists.py` and
`serve/routes/console`.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from rillflow.errors import OverloadedError

FEW: Final = 4
"""A sender with fewer places than these finds one where others have none."""


class SenderTurns:
    """Turns of which there are few at a time; senders get the next one in rotation.

    Whoever waits, waits for one turn of each other sender at most, however many those wait for.
    Where there are several at a time, no sender has all of them. The places are limited for all
    together, and a sender has a half of them at most. When there is no place for more of any
    sender, there are as many again for those that have few: one request may take several turns.
    """

    def __init__(self, *, most: int, refusal: str, at_once: int = 1) -> None:
        """Give ``most`` a place, ``at_once`` of which have their turn.

        ``refusal`` tells others why they have none.
        """
        self._most = most
        self._at_once = at_once
        self._refusal = refusal
        self._taken: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._running: Counter[str] = Counter()

    @asynccontextmanager
    async def turn(self, sender: str) -> AsyncIterator[None]:
        """Wait for a turn, and keep it until the block ends.

        Raises:
            OverloadedError: There is no place, for this sender or for any (503).
        """
        self._check(sender)
        self._taken[sender] += 1
        try:
            await self._begin(sender)
            try:
                yield
            finally:
                self._end(sender)
        finally:
            _take_one(self._taken, sender)

    def _check(self, sender: str) -> None:
        of_one = self._taken.get(sender, 0)
        most = self._most if of_one >= FEW else 2 * self._most
        if of_one >= self._most // 2 or self._taken.total() >= most:
            raise OverloadedError(self._refusal, http_status=503)

    async def _begin(self, sender: str) -> None:
        if self._may_begin(sender):
            self._running[sender] += 1
            return
        granted = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(sender, deque()).append(granted)
        try:
            await granted
        except asyncio.CancelledError:
            if granted.cancelled():
                self._give_up(sender, granted)
            else:
                self._end(sender)
            raise

    def _may_begin(self, sender: str) -> bool:
        of_one = max(self._at_once - 1, 1)
        return self._running.total() < self._at_once and self._running.get(sender, 0) < of_one

    def _give_up(self, sender: str, granted: "asyncio.Future[None]") -> None:
        queue = self._waiting[sender]
        queue.remove(granted)
        if not queue:
            del self._waiting[sender]

    def _end(self, sender: str) -> None:
        """Give the turn to the sender that has waited longest for one, or to nobody.

        One that has left since, and does not know it yet, is passed over.
        """
        _take_one(self._running, sender)
        for other, queue in self._waiting.items():
            granted = next((each for each in queue if not each.done()), None)
            if granted is not None and self._may_begin(other):
                queue.remove(granted)
                del self._waiting[other]
                if queue:
                    self._waiting[other] = queue  # now the last one
                self._running[other] += 1
                granted.set_result(None)
                return


def _take_one(counts: Counter[str], sender: str) -> None:
    counts[sender] -= 1
    if not counts[sender]:
        del counts[sender]
