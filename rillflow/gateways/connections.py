"""The pooled connections of the HTTP gateway, guarded by the egress policy."""

import asyncio
import ipaddress
import socket
from functools import lru_cache

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from rillflow.errors import GatewayError
from rillflow.gateways.egress import EgressPolicy
from rillflow.gateways.settings import HttpSettings


class GuardedResolver(AbstractResolver):
    """Looks names up within a time limit and asks the egress policy about every address."""

    def __init__(self, policy: EgressPolicy, *, timeout_s: float) -> None:
        self._policy = policy
        self._timeout_s = timeout_s
        self._names = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Resolve a name; one refused address refuses the name.

        Raises:
            GatewayError: The policy refuses an address.
            OSError: The name has no address, or the look-up took too long.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                found = await self._names.resolve(host, port, family)
        except TimeoutError as error:
            raise OSError(f"look-up took longer than {self._timeout_s:g} s") from error
        for address in found:
            self._policy.check(host, address["host"])
        return found

    async def close(self) -> None:
        """Release the resolver below."""
        await self._names.close()


def check_literal(policy: EgressPolicy, host: str | None) -> None:
    """Ask the policy about a host that is an address; aiohttp does not resolve those.

    Raises:
        GatewayError: The policy refuses the address.
    """
    if host is None:
        raise GatewayError("the address has no host")
    if _is_literal(host):
        policy.check(host, host)


@lru_cache(maxsize=4096)
def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def open_session(settings: HttpSettings) -> aiohttp.ClientSession:
    """Create the pool in the running loop; its limits are kept by HostSlots."""
    connector = aiohttp.TCPConnector(
        limit=0,
        resolver=GuardedResolver(settings.egress, timeout_s=settings.connect_timeout_s),
        keepalive_timeout=settings.keep_alive_s,
    )
    session = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=settings.connect_timeout_s),
        skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
    )
    # aiohttp sends idempotent verbs again when a kept connection breaks; here a
    # request that was sent is the attempt, and only the workflow's retry repeats it.
    session._retry_connection = False  # noqa: SLF001 - aiohttp has no public switch
    return session
