"""The address of a caller, by which limits tell callers apart that have no key.

The other modules of this package call it. It must not know what is limited.

Used by `serve/limits`, `serve/middleware/audited_changes.py` and `serve/routes/artifacts.py`.
"""

import ipaddress
from functools import lru_cache
from typing import Final

from starlette.types import Scope

_NETWORK_BITS: Final = 64
"""Of an IPv6 address: who has one address usually has its whole /64 network."""


def address_of(scope: Scope) -> str:
    """Return the address that a request came from, of IPv6 its network; empty if unknown."""
    client = scope.get("client")
    return _network(client[0]) if client else ""


def is_this_machine(scope: Scope) -> bool:
    """Tell whether a request came from this machine, as all those of a local reverse proxy do."""
    client = scope.get("client")
    return client is not None and _is_loopback(client[0])


@lru_cache(maxsize=1024)
def elsewhere(client: str) -> str:
    """Return the address that a client of elsewhere has, of IPv6 its network; empty if it is here.

    What it returned is kept, since each request without a key asks.
    """
    return "" if _is_loopback(client) else _network(client)


@lru_cache(maxsize=1024)
def _network(address: str) -> str:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, _NETWORK_BITS), strict=False))


@lru_cache(maxsize=1024)
def _is_loopback(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback
