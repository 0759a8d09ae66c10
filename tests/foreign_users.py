"""Connections that belong to another user of this machine, as far as the kernel tells.

The superuser gives his sockets to another user. Nobody else can; there a test has the server be
another user's instead.
"""

import os
import socket
from collections.abc import Iterable
from typing import Final

NOBODY: Final = 65_534


def can_give() -> bool:
    """Tell whether this process may give its sockets away."""
    return os.geteuid() == 0


def give_to(user: int, sockets: Iterable[socket.socket]) -> None:
    """Have sockets belong to a user, where this process may do so."""
    if can_give():
        for each in sockets:
            os.fchown(each.fileno(), user, -1)


def another() -> int:
    """Return a user to whom what ``give_to`` was called with does not belong."""
    return os.getuid() if can_give() else NOBODY
