"""Addresses to listen on: free ports of this machine, and checks that an address is safe.

`serve/deployment.py` and `serve/stack` call it.
"""

import contextlib
import errno
import fcntl
import functools
import os
import random
import socket
import stat
import tempfile
import threading
import time
from collections import deque
from pathlib import Path
from typing import Final

from rillflow.errors import StackError
from rillflow.local_keys import guessable_keys
from rillflow.settings import Settings, is_loopback

PAUSE_S: Final = 0.1
_OURS: Final = range(20_000, 32_000)
"""Ports below the system's range of ephemeral ones, from which Ray takes dozens at any time."""
_TRIES: Final = 100
_MOST_RESERVED: Final = 64
_RESERVED: Final[deque[range]] = deque()
_LOCK: Final = threading.Lock()
_PRIVATE: Final = 0o600


def free_port(wanted: int = 0) -> int:
    """Return a free port of loopback; the wanted one if it is free.

    Raises:
        StackError: None is free.
    """
    return free_ports(1, wanted)


def free_ports(number: int, wanted: int = 0) -> int:
    """Return the first of so many free ports of loopback that follow each other.

    They are reserved for this process, since seconds pass before somebody listens on them: no
    other process of this user is given them. It keeps the latest 64 reservations until it ends.
    Where the file of reservations cannot be used, ports are given without.

    Raises:
        StackError: There are none.
    """
    firsts = random.sample(_OURS[: len(_OURS) - number + 1], _TRIES)
    with _LOCK:
        for first in (wanted, *firsts) if wanted else firsts:
            ports = range(first, first + number)
            if (first == wanted or not _has_reserved(ports)) and _reserve(ports):
                if all(_is_free(port) for port in ports):
                    return first
                _give_up(ports)
    raise StackError(f"no free port between {_OURS.start} and {_OURS.stop}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.bind(("127.0.0.1", port))
        return True
    return False


def _has_reserved(ports: range) -> bool:
    return any(one.start < ports.stop and ports.start < one.stop for one in _RESERVED)


def _reserve(ports: range) -> bool:
    file = _reservations()
    try:
        if file is not None:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, len(ports), ports.start)
    except (BlockingIOError, PermissionError):
        return False
    _RESERVED.append(ports)
    if len(_RESERVED) > _MOST_RESERVED:
        _give_up(_RESERVED[0])
    return True


def _give_up(ports: range) -> None:
    _RESERVED.remove(ports)
    file = _reservations()
    if file is not None:
        fcntl.lockf(file, fcntl.LOCK_UN, len(ports), ports.start)


@functools.cache
def _reservations() -> int | None:
    """Return the file whose byte N is locked by the process that has reserved port N.

    It is never closed, since closing it would end the locks. None if another user has made
    something of its name, who could lock all of it.
    """
    path = Path(tempfile.gettempdir()) / f"rillflow-ports-{os.getuid()}"
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _PRIVATE)
    except OSError:
        return None
    found = os.fstat(file)
    if found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) == _PRIVATE:
        return file
    os.close(file)
    return None


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
    """Refuse an address beyond this machine without an API key, or with keys that can be guessed.

    With ``insecure`` in the settings nothing is refused.

    Raises:
        StackError: The address is not loopback, and there is no key, or a short one.
    """
    if settings.insecure or is_loopback(host):
        return
    if settings.api_key is None:
        raise StackError(
            f"without an API key {host} would be open to everybody: set RILLFLOW_API_KEY (or"
            " have rillflow up --key make a key), listen on 127.0.0.1, or say --insecure"
            " (RILLFLOW_INSECURE=true)"
        )
    for name, told in guessable_keys(settings).items():
        if name != "auth_secret":  # callers have it from Rill Flow
            raise StackError(f"others reach {host}, and {told}")


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
