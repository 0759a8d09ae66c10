"""Ends the connections of other users of this machine to servers of Ray that have many of them.

Everybody on this machine reaches the ports of Ray's servers. Who shows no certificate has no call
handled, but holds a file of the server with each connection, and a raylet without a file for the
next worker ends the whole node. gRPC bounds neither connections nor greetings that do not go on.
So this looks how many files the servers have open, and shuts what other users hold.

Used by `serve/stack/local_ray.py`.
"""

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

from rillflow.listening import some_more
from rillflow.trusted_files.owners import SUPERUSER
from serve.stack.machine_connections import accepted_from, all_ends, shut, sockets_of

LOOK_S: Final = 0.25
MORE_FILES: Final = 256
"""How many files more than usual a server has when it is looked who has its connections."""
TELL_S: Final = 60.0
"""How often it is logged."""

log = logging.getLogger("rillflow.foreign_connections")


class ForeignConnections:
    """Looks after the servers of a stack, in a thread of its own.

    Args:
        servers: Returns the ids of their processes, at each look.
        user: Whose they are; he and the superuser may have as many connections as they like.
    """

    def __init__(self, servers: Callable[[], Iterable[int]], user: int | None = None) -> None:
        self._servers = servers
        self._trusted = {SUPERUSER, os.getuid() if user is None else user}
        self._usual: dict[int, int] = {}
        self._shut: Counter[int] = Counter()
        self._tells_at_s = 0.0
        self._tells_failure_at_s = 0.0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="connections", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        pause_s = LOOK_S
        while not self._stopped.wait(pause_s):
            try:
                # Where some were shut, more are coming.
                pause_s = 0.0 if self.look() else LOOK_S
                self._tell()
            except OSError as error:
                # Others have taken the files that this process was given for the look.
                pause_s = LOOK_S
                self._tell_failure(error)
            except Exception:
                log.exception("connections_not_looked_at")
                pause_s = TELL_S

    def look(self) -> int:
        """Shut what other users hold of a server that has many files; return how many that were."""
        with some_more():  # this process is one of the servers
            usual, many = {}, []
            for server in self._servers():
                with suppress(OSError):  # it has ended
                    count = len(os.listdir(f"/proc/{server}/fd"))  # noqa: PTH208 - only counted
                    usual[server] = min(count, self._usual.get(server, 0))
                    if count > usual[server] + MORE_FILES:
                        many.append(server)
            self._usual = usual
            return self._shut_those_of(many)

    def _shut_those_of(self, servers: list[int]) -> int:
        if not servers:
            return 0
        ends, total = all_ends(), 0
        for server in servers:
            with suppress(ProcessLookupError, FileNotFoundError):  # it has ended
                sockets = sockets_of(server)
                found = accepted_from(ends, sockets, self._trusted)
                count = shut(server, found)
                self._shut.update(each.user for each in found)
                if not count:
                    self._usual[server] = len(os.listdir(f"/proc/{server}/fd"))  # noqa: PTH208 - only counted
                total += count
        return total

    def _tell_failure(self, error: OSError) -> None:
        now_s = time.monotonic()
        if now_s >= self._tells_failure_at_s:
            self._tells_failure_at_s = now_s + TELL_S
            log.warning("connections_not_looked_at", extra={"reason": str(error)})

    def _tell(self) -> None:
        now_s = time.monotonic()
        if self._shut and now_s >= self._tells_at_s:
            self._tells_at_s = now_s + TELL_S
            users = ", ".join(str(user) for user in sorted(self._shut))
            log.warning(
                "foreign_connections_shut",
                extra={"connections": self._shut.total(), "user_ids": users},
            )
            self._shut.clear()
