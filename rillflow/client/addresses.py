"""How the address of a Ray is written so that drivers on its machine reach it."""

from typing import Final

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
