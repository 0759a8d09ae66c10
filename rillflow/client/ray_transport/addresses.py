"""Addresses of a Ray cluster in the form that drivers on its machine can reach.

Used by `client/ray_transport/driver.py` and `serve/stack/local_ray.py`.
"""

import socket
from typing import Final

from rillflow.errors import UnreachableError

CONNECT_S: Final = 2.0

_LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
_REACHED: Final = "LOCALHOST"
"""What Ray does not know for loopback, and resolvers do: names have no case."""


def reachable(address: str) -> str:
    """Return the address of a Ray on this machine in a spelling that Ray leaves alone.

    Before it connects, Ray replaces loopback by the machine's own address, where a Ray that
    keeps to loopback does not listen. Other addresses stay as they are.
    """
    host, colon, port = address.rpartition(":")
    return f"{_REACHED}{colon}{port}" if host in _LOOPBACK else address


def is_of_banner(address: str) -> bool:
    """Tell whether an address is spelled as ``rillflow up`` shows it, whose Ray wants a token."""
    return address.startswith(f"{_REACHED}:")


def require_listener(address: str) -> None:
    """Make sure that something listens at the address of a Ray, for Ray itself tries for minutes.

    Addresses that are no host and port, such as ``auto``, are left to Ray.

    Raises:
        UnreachableError: Nothing took a connection within two seconds.
    """
    host, _, port = address.rpartition(":")
    if "/" in host or not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        unreachable = UnreachableError(f"nothing listens at {address}: {reason}")
        raise unreachable.with_hint(
            "address= or RAY_ADDRESS names the Ray of a stack, as the banner of rillflow up does"
        ) from error
