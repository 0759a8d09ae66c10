"""How many calls may be under way at once, in all and to one host."""

import asyncio
from collections import OrderedDict
from typing import Final, NamedTuple

from rillflow.gateways.limits.rates import Pace, Rates

MOST_RECENT: Final = 1_000
"""Origins without a call that are remembered, those first that were called last."""

RECENT_S: Final = 600.0
"""For how long they are."""


class Usage(NamedTuple):
    """How many calls of an origin are under way, and how many wait for their turn.

    ``idle_s`` is how long ago the last one ended, None while there is one.
    """

    under_way: int
    waiting: int
    idle_s: float | None = None


class HostSlots:
    """Counts calls by origin; a call over a limit waits its turn.

    The turn comes before the call's time-out starts: a long queue delays calls,
    it does not fail them. A call waits for the rate of its host with a slot of that host,
    so that no calls can gather behind the rate, and without one of the total, so that a
    slow host takes no room from others.
    """

    def __init__(self, *, per_host: int, total: int, rates: Rates) -> None:
        self._per_host = per_host
        self._total = asyncio.Semaphore(total)
        self._rates = rates
        self._hosts: dict[str, _Host] = {}
        self._recent: OrderedDict[str, float] = OrderedDict()

    async def acquire(self, origin: str) -> None:
        """Wait for a slot of the origin, for its rate, then for one of the total."""
        host = self._hosts.get(origin)
        if host is None:
            host = self._hosts[origin] = _Host(self._per_host, self._rates.pace(origin))
        host.users += 1
        try:
            await host.free.acquire()
        except BaseException:
            self._leave(origin, host)
            raise
        try:
            if host.pace is not None:
                await host.pace.take()
            await self._total.acquire()
        except BaseException:
            host.free.release()
            self._leave(origin, host)
            raise
        host.under_way += 1

    def release(self, origin: str) -> None:
        """Give a slot back; of an origin that nobody uses only the time is kept."""
        self._total.release()
        host = self._hosts[origin]
        host.under_way -= 1
        host.free.release()
        self._leave(origin, host)

    def usage(self) -> dict[str, Usage]:
        """Return how much each origin is used, or was within the last ten minutes."""
        now_s = asyncio.get_running_loop().time()
        while self._recent and now_s - next(iter(self._recent.values())) > RECENT_S:
            self._recent.popitem(last=False)
        idle = {origin: Usage(0, 0, now_s - ended_s) for origin, ended_s in self._recent.items()}
        return idle | {
            origin: Usage(host.under_way, host.users - host.under_way)
            for origin, host in self._hosts.items()
        }

    def _leave(self, origin: str, host: "_Host") -> None:
        host.users -= 1
        if not host.users:
            del self._hosts[origin]
            self._recent[origin] = asyncio.get_running_loop().time()
            self._recent.move_to_end(origin)
            if len(self._recent) > MOST_RECENT:
                self._recent.popitem(last=False)


class _Host:
    """Free slots of one origin, and how many calls hold or want one."""

    __slots__ = ("free", "pace", "under_way", "users")

    def __init__(self, limit: int, pace: Pace | None) -> None:
        self.free = asyncio.Semaphore(limit)
        self.pace = pace
        self.users = 0
        self.under_way = 0
