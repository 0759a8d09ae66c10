"""Addresses to listen on: free ports of this machine, and checks that an address is safe.

`serve/deployment.py` and `serve/stack` call it.
"""

import contextlib
import errno
import random
import socket
import time
from typing import Final

from rillflow.errors import StackError
from rillflow.settings import Settings, is_loopback

PAUSE_S: Final = 0.1
_OURS: Final = range(20_000, 32_000)
_TRIES: Final = 100


def free_port(wanted: int = 0) -> int:
    """Return a free port of loopback; the wanted one if it is free.

    It is below the system's range of ephemeral ports, from which Ray takes dozens before a port
    that was found here is listened on.
    """
    for port in (wanted, *random.sample(_OURS, _TRIES)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port:
                return port
    raise StackError(f"no free port between {_OURS.start} and {_OURS.stop}")


def refuse_taken_port(host: str, port: int, *, patience_s: float = 0.0) -> None:
    """Check that a server can listen here, and wait a little for the previous one to leave.

    Raises:
        StackError: Another program listens there, or this machine does not have the address.
    """
    give_up = time.monotonic() + patience_s
    while True:
        error = _try(host, port)
        if error is None:
            return
        if error.errno != errno.EADDRINUSE or time.monotonic() > give_up:
            break
        time.sleep(PAUSE_S)
    if error.errno == errno.EADDRINUSE:
        raise StackError(f"port {port} of {host} is in use; choose another one with --port")
    raise StackError(f"cannot listen on {host}:{port}: {error.strerror or error}")


def refuse_exposed(settings: Settings, host: str) -> None:
    """Refuse an address beyond this machine without an API key, unless that is configured.

    Raises:
        StackError: The address is not loopback, and there is no key.
    """
    if settings.api_key is None and not settings.insecure and not is_loopback(host):
        raise StackError(
            f"without an API key {host} would be open to everybody: set RILLFLOW_API_KEY (or"
            " have rillflow up --key make a key), listen on 127.0.0.1, or say --insecure"
            " (RILLFLOW_INSECURE=true)"
        )


def _try(host: str, port: int) -> OSError | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            return error
    return None
