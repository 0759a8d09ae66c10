"""Concurrency limits, in all and for each host.

Used by `gateways/http_client/resolver.py`, `gateways/limits/limiter.py` and `ray_tasks`.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from enum import Enum, auto
from typing import Final, NamedTuple

from rillflow.gateways.limits.concurrency import Caller, FairSlots
from rillflow.gateways.limits.rates import Pace, Rates

MOST_RECENT: Final = 1_000
"""Limit of the idle origins that are remembered; the least recently called is dropped first."""

RECENT_S: Final = 600.0
"""How long idle origins are remembered."""


class Usage(NamedTuple):
    """How many calls of an origin are under way, and how many wait.

    ``idle_s`` is the time since the last one ended, None while there is one.
    """

    under_way: int
    waiting: int
    idle_s: float | None = None


class _Stage(Enum):
    """Where a place is in its turn."""

    HOST = auto()
    """It waits for a slot of its host."""
    RATE = auto()
    """It has one, and has to wait for the rate of the host."""
    TOTAL = auto()
    """It has one, and waits for a slot of the total."""
    ENTERED = auto()
    """It has both."""
    LEFT = auto()
    """It has none, and waits for none."""


class Place:
    """The place of a call that waits for its slots without a task."""

    __slots__ = ("_at", "_host", "_slots", "_told", "caller", "origin")

    def __init__(
        self, slots: "HostSlots", origin: str, caller: Caller, told: Callable[[], None]
    ) -> None:
        """Call ``told`` once, when the wait is over, but for that of a rate (``end_wait``)."""
        self._slots = slots
        self._told: Callable[[], None] | None = told
        self._at = _Stage.HOST
        self._host: _Host | None = None
        self.origin = origin
        self.caller = caller

    @property
    def has_entered(self) -> bool:
        """Whether it has its slots."""
        return self._at is _Stage.ENTERED

    @property
    def has_left(self) -> bool:
        """Whether it has no slot and waits for none."""
        return self._at is _Stage.LEFT

    def done(self) -> bool:
        """Tell whether it waits for no slot any more, as a future does."""
        return self._told is None

    def set_result(self, _: None) -> None:
        """Take the slot that it has waited for, as a future does."""
        host = self._host
        if host is None:
            return
        if self._at is _Stage.TOTAL:
            host.under_way += 1
            self._at = _Stage.ENTERED
        else:
            self._at = self._slots.entered(self, host)
        if self._at is not _Stage.TOTAL:
            self._tell()

    def enter(self) -> None:
        """Take slots, or wait for them in turn."""
        self._host = host = self._slots.used(self.origin)
        if host.slots.enter(self.caller):
            self.set_result(None)
        else:
            host.slots.add(self.caller, self)

    async def end_wait(self) -> None:
        """Wait for the rate of the host, which is waited for with a slot of it."""
        if self._at is _Stage.RATE and self._host is not None:
            self._at = _Stage.LEFT  # if the wait is cancelled, the slots have been released
            await self._slots.enter_at_rate(self.origin, self._host, self.caller)
            self._at = _Stage.ENTERED

    def give_up(self) -> None:
        """Wait no more, and tell so; it has left."""
        told = self._told
        self.leave()
        if told is not None:
            told()

    def leave(self) -> None:
        """Release what it has, or wait no more."""
        at, self._at, self._told = self._at, _Stage.LEFT, None
        if self._host is not None:
            self._slots.left(self, self._host, at)

    def _tell(self) -> None:
        told, self._told = self._told, None
        if told is not None:
            told()


class HostSlots:
    """Limits calls by origin; a call over a limit waits for its turn.

    The wait comes before the call's time-out starts: a long queue delays calls and does not fail
    them. A call holds a slot of its host while it waits for the rate of that host, so that no calls
    collect behind the rate. It holds no slot of the total meanwhile, so that a slow host takes no
    room from others.
    """

    def __init__(self, *, per_host: int, total: int, rates: Rates) -> None:
        self._per_host = per_host
        self._total = FairSlots(total)
        self._rates = rates
        self._hosts: dict[str, _Host] = {}
        self._recent: OrderedDict[str, float] = OrderedDict()

    def enter(self, origin: str, caller: Caller) -> bool:
        """Take a slot of the origin and one of the total, if nothing is to be waited for."""
        host = self._hosts.get(origin) or _Host(self._per_host, self._rates.pace(origin))
        if host.pace is not None or not host.slots.enter(caller):
            return False
        if not self._total.enter(caller):
            host.slots.release(caller)
            return False
        if not host.users:
            self._hosts[origin] = host
        host.users += 1
        host.under_way += 1
        return True

    async def acquire(self, origin: str, caller: Caller) -> None:
        """Wait for a slot of the origin, for its rate, then for one of the total."""
        host = self.used(origin)
        try:
            if not host.slots.enter(caller):
                await host.slots.wait(caller)
        except BaseException:
            self._leave(origin, host)
            raise
        await self.enter_at_rate(origin, host, caller)

    async def enter_at_rate(self, origin: str, host: "_Host", caller: Caller) -> None:
        """Wait for the rate of a host that has given a slot, then for a slot of the total."""
        try:
            if host.pace is not None:
                await host.pace.take()
            if not self._total.enter(caller):
                await self._total.wait(caller)
        except BaseException:
            host.slots.release(caller)
            self._leave(origin, host)
            raise
        host.under_way += 1

    def entered(self, place: Place, host: "_Host") -> _Stage:
        """Note that a place has a slot of its host; return what comes next."""
        if host.pace is not None:
            return _Stage.RATE
        if not self._total.enter(place.caller):
            self._total.add(place.caller, place)
            return _Stage.TOTAL
        host.under_way += 1
        return _Stage.ENTERED

    def left(self, place: Place, host: "_Host", at: _Stage) -> None:
        """Release what a place had."""
        if at is _Stage.LEFT:
            return
        if at is _Stage.ENTERED:
            self.release(place.origin, place.caller)
            return
        if at is _Stage.HOST:
            host.slots.give_up(place.caller)
        else:
            if at is _Stage.TOTAL:
                self._total.give_up(place.caller)
            host.slots.release(place.caller)
        self._leave(place.origin, host)

    def places(self) -> list[Place]:
        """Return the calls that wait without a task."""
        queues = [self._total, *(host.slots for host in self._hosts.values())]
        return [each for queue in queues for each in queue.waiting() if isinstance(each, Place)]

    def release(self, origin: str, caller: Caller) -> None:
        """Release a slot; of an idle origin only the time is kept."""
        self._total.release(caller)
        host = self._hosts[origin]
        host.under_way -= 1
        host.slots.release(caller)
        self._leave(origin, host)

    def usage(self) -> dict[str, Usage]:
        """Return the usage of each origin that was used within the last ten minutes."""
        now_s = asyncio.get_running_loop().time()
        while self._recent and now_s - next(iter(self._recent.values())) > RECENT_S:
            self._recent.popitem(last=False)
        idle = {origin: Usage(0, 0, now_s - ended_s) for origin, ended_s in self._recent.items()}
        return idle | {
            origin: Usage(host.under_way, host.users - host.under_way)
            for origin, host in self._hosts.items()
        }

    def used(self, origin: str) -> "_Host":
        """Return a host that one more call uses."""
        host = self._hosts.get(origin)
        if host is None:
            host = self._hosts[origin] = _Host(self._per_host, self._rates.pace(origin))
        host.users += 1
        return host

    def _leave(self, origin: str, host: "_Host") -> None:
        host.users -= 1
        if not host.users:
            del self._hosts[origin]
            self._recent[origin] = asyncio.get_running_loop().time()
            self._recent.move_to_end(origin)
            if len(self._recent) > MOST_RECENT:
                self._recent.popitem(last=False)


class _Host:
    """The slots of one origin, and how many calls hold or want one."""

    __slots__ = ("pace", "slots", "under_way", "users")

    def __init__(self, limit: int, pace: Pace | None) -> None:
        self.slots = FairSlots(limit)
        self.pace = pace
        self.users = 0
        self.under_way = 0
