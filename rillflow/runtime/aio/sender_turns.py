"""Work that few do at a time: the senders that wait for it get their turns in a fair order.

Used by `runtime/activation`, `runtime/definitions/trigger_room.py`, `runtime/dispatch`,
`runtime/histories/cache.py`, `runtime/searches.py`, `runtime/triggers/trigger_lists.py` and
`serve/routes/console`.
"""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from rillflow.errors import OverloadedError
from rillflow.stores.reader_turns import ReaderTurns

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
        self._refusal = refusal
        self._taken: Counter[str] = Counter()
        self._turns = ReaderTurns(at_once, most_of_one=max(at_once - 1, 1))

    @asynccontextmanager
    async def turn(self, sender: str) -> AsyncIterator[None]:
        """Wait for a turn, and keep it until the block ends.

        Raises:
            OverloadedError: There is no place, for this sender or for any (503).
        """
        self._check(sender)
        self._taken[sender] += 1
        try:
            async with self._turns.place(sender):
                yield
        finally:
            self._taken[sender] -= 1
            if not self._taken[sender]:
                del self._taken[sender]

    def _check(self, sender: str) -> None:
        of_one = self._taken.get(sender, 0)
        most = self._most if of_one >= FEW else 2 * self._most
        if of_one >= self._most // 2 or self._taken.total() >= most:
            raise OverloadedError(self._refusal, http_status=503)
