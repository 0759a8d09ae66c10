"""Places for work that takes long, of which one sender has some at once.

A sender without a place waits a short while for one, so that functions which bring several files at
the same time are served one after the other. Meanwhile slow work is ended
to free a place: first work of a sender with several places; and work that has taken a minute, also
if it is the only one of its sender, for a sender without a place.

Used by `serve/routes/artifacts.py`.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rillflow.errors import OverloadedError

WAIT_S: Final = 10.0
"""How long a request waits for a place."""
MOST_WAITING: Final = 64
WORKSPACE: Final = "workspace "
"""How the name of an owner begins that may have half of the places."""
SLOW_AFTER_S: Final = 3.0
SLOW_BYTES_PER_S: Final = 1 << 20
"""Work that is older and slower than this may have to give way."""
ALONE_S: Final = 60.0
"""After so long slow work gives way to who has no place, also if its owner has no other one."""
_LOOK_S: Final = 1.0


class HeldPlace:
    """A place whose work ends where it holds up others.

    Attributes:
        gives_way: Whether it is to end.
        moved_bytes: How much it has done.
        waits: What it waits for now, which ends at once when it is to end.
    """

    def __init__(self, owners: tuple[str, ...], now_s: Callable[[], float]) -> None:
        self.owners = owners
        self.gives_way = False
        self.moved_bytes = 0
        self.waits: asyncio.Timeout | None = None
        self._now_s, self._began_s = now_s, now_s()

    @property
    def age_s(self) -> float:
        """For how long it has been done."""
        return self._now_s() - self._began_s

    @property
    def bytes_per_s(self) -> float:
        """How fast it is; as fast as any while it is young."""
        age_s = self.age_s
        return self.moved_bytes / age_s if age_s > SLOW_AFTER_S else SLOW_BYTES_PER_S

    def end(self) -> None:
        """Have it end."""
        self.gives_way = True
        if self.waits is not None and not self.waits.expired():
            self.waits.reschedule(asyncio.get_running_loop().time())


class Places:
    """Some places, of which each owner has a part at most.

    Args:
        most: How many there are.
        most_of_one: How many of them an owner may have; a workspace may have half of all.
        what: What is done in them, for the refusal.
        now_s: A monotonic clock, by which work is slow.
    """

    def __init__(
        self,
        most: int,
        most_of_one: int,
        what: str,
        *,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most, self._most_of_one, self._what = most, most_of_one, what
        self._now_s = now_s
        self._taken = 0
        self._of: Counter[str] = Counter()
        self._waiting: set[asyncio.Future[None]] = set()
        self._waiting_of: Counter[str] = Counter()
        self._slow: set[HeldPlace] = set()

    async def take(
        self, owners: tuple[str, ...], wait_s: float = WAIT_S, *, leaves: int = 0
    ) -> None:
        """Take a place for all of these owners together; ``leaves`` remain for others.

        Raises:
            OverloadedError: None has become free, or too many wait for one.
        """
        if not self._fits(owners, leaves):
            if not self._may_wait(owners):
                raise self._refusal()
            self._waiting_of.update(owners)
            try:
                async with asyncio.timeout(wait_s):
                    await self._until_fits(owners, leaves)
            except TimeoutError:
                raise self._refusal() from None
            finally:
                self._waiting_of -= Counter(owners)
        self._taken += 1
        self._of.update(owners)

    @contextmanager
    def slow_work(self, owners: tuple[str, ...]) -> Iterator[HeldPlace]:
        """Do work in a place of these owners that ends when it ``gives_way``."""
        work = HeldPlace(owners, self._now_s)
        self._slow.add(work)
        try:
            yield work
        finally:
            self._slow.discard(work)

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
                await asyncio.wait((turn,), timeout=_LOOK_S)
            finally:
                self._waiting.discard(turn)
            self._end_slowest(owners)

    def _end_slowest(self, owners: tuple[str, ...]) -> None:
        """End the slowest work of the first owner with the most places, at least two more.

        Nothing else than what holds these owners up. One more is enough of work that is old.
        """
        if not owners or self._fits(owners, 0):
            return
        full = {owner for owner in owners if self._of[owner] >= self._share_of(owner)}
        has = self._of[owners[0]]
        found = [
            work
            for work in self._slow
            if full.issubset(work.owners)
            and self._of[work.owners[0]] >= has + (1 if work.age_s > ALONE_S else 2)
            and work.bytes_per_s < SLOW_BYTES_PER_S
        ]
        if found and not any(work.gives_way for work in found):
            max(found, key=lambda work: (self._of[work.owners[0]], -work.bytes_per_s)).end()

    def _may_wait(self, owners: tuple[str, ...]) -> bool:
        """Tell whether there is room for one more who waits; a workspace has a half of it."""
        shares = {
            owner: MOST_WAITING // (2 if owner.startswith(WORKSPACE) else 4) for owner in owners
        }
        has_part = all(self._waiting_of[owner] < share for owner, share in shares.items())
        return has_part and len(self._waiting) < MOST_WAITING

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
