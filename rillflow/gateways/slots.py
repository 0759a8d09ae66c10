"""How many calls may be under way at once, in all and to one host."""

import asyncio
from types import TracebackType


class HostSlots:
    """Counts calls by origin; a call over a limit waits its turn.

    The turn comes before the call's time-out starts: a long queue delays calls,
    it does not fail them.
    """

    def __init__(self, *, per_host: int, total: int) -> None:
        self._per_host = per_host
        self._total = asyncio.Semaphore(total)
        self._hosts: dict[str, _Host] = {}

    def slot(self, origin: str) -> "_Slot":
        """Return a context that holds one slot of an origin."""
        return _Slot(self, origin)

    async def acquire(self, origin: str) -> None:
        """Wait for a slot of the origin, then for one of the total."""
        host = self._hosts.get(origin)
        if host is None:
            host = self._hosts[origin] = _Host(self._per_host)
        host.users += 1
        try:
            await host.free.acquire()
        except BaseException:
            self._leave(origin, host)
            raise
        try:
            await self._total.acquire()
        except BaseException:
            host.free.release()
            self._leave(origin, host)
            raise

    def release(self, origin: str) -> None:
        """Give a slot back; an origin that nobody uses is forgotten."""
        self._total.release()
        host = self._hosts[origin]
        host.free.release()
        self._leave(origin, host)

    def _leave(self, origin: str, host: "_Host") -> None:
        host.users -= 1
        if not host.users:
            del self._hosts[origin]


class _Host:
    """Free slots of one origin, and how many calls hold or want one."""

    __slots__ = ("free", "users")

    def __init__(self, limit: int) -> None:
        self.free = asyncio.Semaphore(limit)
        self.users = 0


class _Slot:
    __slots__ = ("_origin", "_slots")

    def __init__(self, slots: HostSlots, origin: str) -> None:
        self._slots = slots
        self._origin = origin

    async def __aenter__(self) -> None:
        await self._slots.acquire(self._origin)

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _: TracebackType | None,
    ) -> None:
        self._slots.release(self._origin)
