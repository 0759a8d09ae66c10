"""Name resolution under the egress policy.

The system's resolver occupies a thread for each name, for 10 to 30 s if a name server does not
answer. So look-ups have threads of their own, and the names of one domain get only some of them. So
do all names that a workspace calls, however many domains they belong to.

Used by `gateways/http_client/aiohttp_transport.py` and `gateways/http_client/pool.py`.
"""

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any, Final, TypeAlias

from cachetools import LRUCache

from rillflow.errors import GatewayError
from rillflow.gateways.limits.concurrency import Caller
from rillflow.gateways.limits.host_slots import HostSlots
from rillflow.gateways.limits.rates import Rates
from rillflow.gateways.outbound.egress import EgressPolicy, is_address
from rillflow.gateways.outbound.exchange import FAILS

FRESH_S: Final = 10.0
"""How long an answer of the name server is used."""
STALE_S: Final = 600.0
"""How long it is used while the name server is slow."""
MOST_NAMES: Final = 1024
THREADS: Final = 64
THREADS_OF_DOMAIN: Final = 8

ASKING_WORKSPACE: Final[ContextVar[str]] = ContextVar("asking_workspace", default="")
"""The workspace whose call the current task makes; empty for the stack's own.

Names are looked up for it, and connections are kept for it.
"""

Places: TypeAlias = list[tuple[Any, ...]]
"""What ``socket.getaddrinfo`` returns."""


def look_up(host: str) -> Places:
    """Ask the system for the addresses of a host, however long that takes.

    Raises:
        OSError: It has none.
    """
    return socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)


class GuardedResolver:
    """Resolves names within a time limit, and checks every address against the egress policy.

    Concurrent calls for a name share one look-up; failures are not cached. A look-up that takes too
    long occupies its thread until it ends; meanwhile calls fail at once, or use the last addresses.
    """

    def __init__(
        self,
        policy: EgressPolicy,
        *,
        timeout_s: float,
        look_up: Callable[[str], Places] = look_up,
    ) -> None:
        self._policy = policy
        self._timeout_s = timeout_s
        self._look_up = look_up
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="rillflow-names")
        self._slots = HostSlots(per_host=THREADS_OF_DOMAIN, total=THREADS, rates=Rates(None, {}))
        self._late: set[str] = set()
        self._known = LRUCache[str, tuple[float, list[str]]](MOST_NAMES)
        self._under_way: dict[str, asyncio.Task[list[str]]] = {}

    async def addresses(self, host: str) -> list[str]:
        """Return the addresses of a host; one refused address refuses the name.

        Raises:
            GatewayError: The policy refuses an address, or the host is written as a number.
            OSError: The name has no address, or the look-up took too long.
        """
        if is_address(host):
            self._policy.check(host, host)
            return [host]
        if host.replace(".", "").isdecimal():
            raise GatewayError(f"{FAILS}{host} is not a canonical IPv4 address")
        loop = asyncio.get_running_loop()
        until, addresses = self._known.get(host, (0.0, []))
        if loop.time() < until:
            return addresses
        try:
            return await self._shared(host)
        except _TimeoutError:
            if loop.time() < until + STALE_S:
                return addresses
            raise

    async def _shared(self, host: str) -> list[str]:
        """Join the look-up of a host that is under way, or start one."""
        finding = self._under_way.get(host)
        if finding is None:
            finding = self._under_way[host] = asyncio.create_task(self._find(host))
            finding.add_done_callback(_look_at)
        elif host in self._late:
            raise _TimeoutError(self._took_longer)
        try:
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.shield(finding)
        except TimeoutError as error:
            if not finding.done():
                self._late.add(host)
            raise _TimeoutError(self._took_longer) from error

    @property
    def _took_longer(self) -> str:
        return f"look-up took longer than {self._timeout_s:g} s"

    def forget(self, host: str) -> None:
        """Resolve a name again next time, because it could not be reached."""
        self._known.pop(host, None)

    async def close(self) -> None:
        """Cancel the look-ups under way."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _find(self, host: str) -> list[str]:
        try:
            addresses = await self._looked_up(host)
            for address in addresses:
                self._policy.check(host, address)
        finally:
            del self._under_way[host]
            self._late.discard(host)
        self._known[host] = (asyncio.get_running_loop().time() + FRESH_S, addresses)
        return addresses

    async def _looked_up(self, host: str) -> list[str]:
        domain = domain_of(host)
        caller = Caller(ASKING_WORKSPACE.get(), domain)
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._slots.acquire(domain, caller)
        except TimeoutError as error:
            raise _TimeoutError("too many names are being looked up") from error
        try:
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(self._threads, self._look_up, host)
        except UnicodeError as error:
            raise OSError("it is not a host name") from error
        finally:
            self._slots.release(domain, caller)
        return list(dict.fromkeys(_written(place) for *_, place in found))


class _TimeoutError(OSError):
    """The name server has not answered yet."""


def domain_of(host: str) -> str:
    """Return the last two labels of a name; names of one domain usually share a name server."""
    return ".".join(host.lower().rstrip(".").rsplit(".", 2)[-2:])


def _look_at(finding: "asyncio.Task[list[str]]") -> None:
    """Retrieve the result of a look-up that no caller may have waited for."""
    if not finding.cancelled():
        finding.exception()


def _written(place: tuple[object, ...]) -> str:
    """Return the address of a socket address; an IPv6 address may be valid for one link only."""
    host, scope = str(place[0]), place[3] if len(place) > 3 else 0
    return f"{host}%{scope}" if scope and "%" not in host else host
