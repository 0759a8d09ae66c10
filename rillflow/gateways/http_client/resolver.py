"""Which addresses a host stands for, as far as the egress policy lets them be reached."""

import asyncio
import ipaddress
import socket
from functools import lru_cache
from typing import Final

from rillflow.errors import GatewayError
from rillflow.gateways.messages.egress import EgressPolicy
from rillflow.gateways.messages.exchange import FAILS

FRESH_S: Final = 10.0
"""For how long an answer of the name service is used."""
MOST_NAMES: Final = 1024


class GuardedResolver:
    """Looks names up within a time limit, and asks the egress policy about every address.

    Calls that want the same name at once share one look-up; failures are not kept.
    """

    def __init__(self, policy: EgressPolicy, *, timeout_s: float) -> None:
        self._policy = policy
        self._timeout_s = timeout_s
        self._known: dict[str, tuple[float, list[str]]] = {}
        self._under_way: dict[str, asyncio.Task[list[str]]] = {}

    async def addresses(self, host: str) -> list[str]:
        """Return the addresses of a host; one refused address refuses the name.

        Raises:
            GatewayError: The policy refuses an address, or it is spelled as a number.
            OSError: The name has no address, or the look-up took too long.
        """
        if _is_literal(host):
            self._policy.check(host, host)
            return [host]
        if host.replace(".", "").isdecimal():
            raise GatewayError(f"{FAILS}{host} is not a canonical IPv4 address")
        loop = asyncio.get_running_loop()
        until, addresses = self._known.get(host, (0.0, []))
        if loop.time() < until:
            return addresses
        if host not in self._under_way:
            self._under_way[host] = loop.create_task(self._find(host))
        return await asyncio.shield(self._under_way[host])

    def forget(self, host: str) -> None:
        """Look a name up anew next time: nobody could be reached there."""
        self._known.pop(host, None)

    async def close(self) -> None:
        """Give up the look-ups under way."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _find(self, host: str) -> list[str]:
        try:
            addresses = await self._looked_up(host)
            for address in addresses:
                self._policy.check(host, address)
        finally:
            del self._under_way[host]
        if len(self._known) >= MOST_NAMES:
            self._known.clear()
        self._known[host] = (asyncio.get_running_loop().time() + FRESH_S, addresses)
        return addresses

    async def _looked_up(self, host: str) -> list[str]:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout_s):
                found = await loop.getaddrinfo(
                    host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
                )
        except TimeoutError as error:
            raise OSError(f"look-up took longer than {self._timeout_s:g} s") from error
        except UnicodeError as error:
            raise OSError("it is not a host name") from error
        return list(dict.fromkeys(_written(place) for *_, place in found))


def _written(place: tuple[object, ...]) -> str:
    """Return the address of a socket's place; one of IPv6 may hold for one link only."""
    host, scope = str(place[0]), place[3] if len(place) > 3 else 0
    return f"{host}%{scope}" if scope and "%" not in host else host


@lru_cache(maxsize=4096)
def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
