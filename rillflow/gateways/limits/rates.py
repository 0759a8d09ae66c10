"""The rate limits of gateway hosts, in calls that may begin in a second.

Used by `gateways/http_client/resolver.py`, `gateways/limits/host_slots.py` and
`gateways/limits/limiter.py`.
"""

import asyncio
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

BURST_S: Final = 0.1
"""As many calls as the rate allows in this time may begin at once, one at least."""

_MOST_KNOWN: Final = 1000
_PORTS: Final = {"http": 80, "https": 443}


class Pace:
    """An even rate of calls: a token bucket that stores only when the next call is due."""

    __slots__ = ("_due_s", "_interval_s", "_slack_s", "per_s")

    def __init__(self, per_s: float) -> None:
        """Let ``per_s`` calls a second begin; it is greater than 0 and may be less than 1."""
        self.per_s = per_s
        self._interval_s = 1 / per_s
        self._slack_s = max(BURST_S - self._interval_s, 0.0)
        self._due_s = float("-inf")

    async def take(self) -> None:
        """Wait until one more call may begin, in the order of arrival."""
        wait_s = self.reserve(asyncio.get_running_loop().time())
        if wait_s > 0:
            await asyncio.sleep(wait_s)

    def reserve(self, now_s: float) -> float:
        """Reserve the next place and return the seconds to wait for it."""
        due_s = max(self._due_s, now_s)
        self._due_s = due_s + self._interval_s
        return max(due_s - self._slack_s - now_s, 0.0)

    def is_idle(self, now_s: float) -> bool:
        """Tell whether its state equals that of a new one."""
        return self._due_s <= now_s


class Rates:
    """The pace of each host that has one."""

    def __init__(self, per_host: float | None, by_host: Mapping[str, float | None]) -> None:
        """Limit hosts as ``by_host`` says (``host`` or ``host:port``), others to ``per_host``.

        Both are in calls per second; None sets no limit.
        """
        self._per_host = per_host
        self._by_host = {host.lower(): rate for host, rate in by_host.items()}
        self._is_set = per_host is not None or bool(by_host)
        self._paces: dict[str, Pace] = {}

    def pace(self, origin: str) -> Pace | None:
        """Return the pace of an origin (``scheme://host:port``), None without a limit."""
        if not self._is_set:
            return None
        pace = self._paces.get(origin)
        if pace is None:
            rate = self._rate(origin)
            if rate is None:
                return None
            self._forget_idle()
            pace = self._paces[origin] = Pace(rate)
        return pace

    def _rate(self, origin: str) -> float | None:
        parts = urlsplit(origin)
        host = parts.hostname or ""
        name = f"[{host}]" if ":" in host else host
        for known in (f"{name}:{parts.port or _PORTS.get(parts.scheme)}", name, host):
            if known in self._by_host:
                return self._by_host[known]
        return self._per_host

    def _forget_idle(self) -> None:
        if len(self._paces) >= _MOST_KNOWN:
            now_s = asyncio.get_running_loop().time()
            idle = [origin for origin, pace in self._paces.items() if pace.is_idle(now_s)]
            for origin in idle:
                del self._paces[origin]
