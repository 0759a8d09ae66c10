"""Sockets of servers, with errors that say what to do about an address; and files for them.

Whoever reaches a port of a process, such as another user of this machine, has it hold a connection
for each file that it may open, and a server of Ray takes some 60 KB for each. So the processes of a
stack begin with few (`serve/stack/few_files.py`), and those that need more ask for them here.

Used by `actors/dispatcher_actor.py`, `cli/commands/serving.py`, `functions/serving.py`,
`private_apis`, `serve/deployment.py`, `serve/stack/few_files.py` and
`serve/stack/foreign_connections.py`.
"""

import errno
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rillflow.errors import StackError

MORE: Final = 64
"""Files that a process may open for a moment when it has used up its own."""
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


# -- files -------------------------------------------------------------------------------


def allow(wanted: int) -> int:
    """Let this process have so many files open, as far as it may; return how many it may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else soft


def allow_at_most(wanted: int) -> None:
    """Let this process have no more than so many files open, until it asks for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft > wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def has_none_left() -> bool:
    """Tell whether this process can open no further file."""
    return _next_number() is None


@contextmanager
def some_more() -> Iterator[None]:
    """Let this process open ``MORE`` files, if it has used up its own."""
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = before
    while (number := _next_number()) is None and (wanted := allowed + MORE) <= hard:
        allowed = allow(wanted)
    if number is not None and number + MORE > allowed:
        allowed = allow(number + MORE)
    try:
        yield
    finally:
        if allowed != before:  # else another thread may have changed it meanwhile
            resource.setrlimit(resource.RLIMIT_NOFILE, (before, hard))


def _next_number() -> int | None:
    """Return the number that the next file would have; None if there can be none."""
    try:
        number = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    os.close(number)
    return number
