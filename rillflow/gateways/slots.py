"""How many calls may be under way at once, in all and to one host."""

import asyncio
from typing import NamedTuple

from rillflow.gateways.rates import Pace, Rates


class Usage(NamedTuple):
    """How many calls of an origin are under way, and how many wait for their turn."""

    under_way: int
    waiting: int


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
        """Give a slot back; an origin that nobody uses is forgotten."""
        self._total.release()
        host = self._hosts[origin]
        host.under_way -= 1
        host.free.release()
        self._leave(origin, host)

    def usage(self) -> dict[str, Usage]:
        """Return how much each origin that is used is used."""
        return {
            origin: Usage(host.under_way, host.users - host.under_way)
            for origin, host in self._hosts.items()
        }

    def _leave(self, origin: str, host: "_Host") -> None:
        host.users -= 1
        if not host.users:
            del self._hosts[origin]


class _Host:
    """Free slots of one origin, and how many calls hold or want one."""

    __slots__ = ("free", "pace", "under_way", "users")

    def __init__(self, limit: int, pace: Pace | None) -> None:
        self.free = asyncio.Semaphore(limit)
        self.pace = pace
        self.users = 0
        self.under_way = 0
