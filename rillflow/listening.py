"""Sockets of servers, with errors that say what to do about an address.

Used by `functions/serving.py` and `cli/commands/serving.py`.
"""

import errno
import os
import socket
from typing import Final

from rillflow.errors import StackError

_NOT_HERE: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def listening_sockets(host: str, port: int) -> list[socket.socket]:
    """Listen at every address of a host; one that this machine lacks is left out beside others.

    Raises:
        StackError: The port is taken or not allowed, or there is no such host.
    """
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, *_, address in dict.fromkeys(found):
            try:
                sockets.append(socket.create_server(address, family=family))
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
                missing = error
        if missing is not None and not sockets:
            raise missing
    except (OSError, UnicodeError) as error:
        for bound in sockets:
            bound.close()
        raise StackError(_why_not(host, port, error)) from error
    return sockets


def _why_not(host: str, port: int, error: OSError | UnicodeError) -> str:
    if not isinstance(error, OSError):
        return f"{host!r} is no name of a host"
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use; choose another one with --port"
    # Python adds the address to the reason; the numbers of getaddrinfo are of another kind.
    is_of_system = bool(error.errno) and not isinstance(error, socket.gaierror)
    reason = os.strerror(error.errno or 0) if is_of_system else error.strerror or str(error)
    return f"cannot listen on port {port} of {host}: {reason}"
