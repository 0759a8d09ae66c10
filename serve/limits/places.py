"""Places for work that takes long, of which one sender has some at once.

A sender without a place waits a short while for one, so that functions which bring several files at
the same time are served one after the other.

Used by `serve/routes/artifacts.py`.
"""

import asyncio
from collections import Counter
from typing import Final

from rillflow.errors import OverloadedError

WAIT_S: Final = 10.0
"""How long a request waits for a place."""
MOST_WAITING: Final = 64
WORKSPACE: Final = "workspace "
"""How the name of an owner begins that may have half of the places."""


class Places:
    """Some places, of which each owner has a part at most.

    Args:
        most: How many there are.
        most_of_one: How many of them an owner may have; a workspace may have half of all.
        what: What is done in them, for the refusal.
    """

    def __init__(self, most: int, most_of_one: int, what: str) -> None:
        self._most, self._most_of_one, self._what = most, most_of_one, what
        self._taken = 0
        self._of: Counter[str] = Counter()
        self._waiting: set[asyncio.Future[None]] = set()

    async def take(
        self, owners: tuple[str, ...], wait_s: float = WAIT_S, *, leaves: int = 0
    ) -> None:
        """Take a place for all of these owners together; ``leaves`` remain for others.

        Raises:
            OverloadedError: None has become free, or too many wait for one.
        """
        if not self._fits(owners, leaves):
            if len(self._waiting) >= MOST_WAITING:
                raise self._refusal()
            try:
                async with asyncio.timeout(wait_s):
                    await self._until_fits(owners, leaves)
            except TimeoutError:
                raise self._refusal() from None
        self._taken += 1
        self._of.update(owners)

    def free(self, owners: tuple[str, ...]) -> None:
        """Give a place back that was taken for these owners."""
        self._taken -= 1
        for owner in owners:
            self._of[owner] -= 1
            if not self._of[owner]:
                del self._of[owner]
        for turn in self._waiting:
            if not turn.done():
                turn.set_result(None)

    async def _until_fits(self, owners: tuple[str, ...], leaves: int) -> None:
        while not self._fits(owners, leaves):
            turn = asyncio.get_running_loop().create_future()
            self._waiting.add(turn)
            try:
                await turn
            finally:
                self._waiting.discard(turn)

    def _fits(self, owners: tuple[str, ...], leaves: int) -> bool:
        has_part = all(self._of[owner] < self._share_of(owner) for owner in owners)
        return has_part and self._taken < self._most - leaves

    def _share_of(self, owner: str) -> int:
        return self._most // 2 if owner.startswith(WORKSPACE) else self._most_of_one

    def _refusal(self) -> OverloadedError:
        return OverloadedError(
            f"too many artifacts are being {self._what}",
            hint=f"{self._most} may be at once, {self._most // 2} of one workspace, and"
            f" {self._most_of_one} of one sender",
        )
