"""A share of each turn of the event loop for parsing responses.

A response in chunks of one byte takes 100 times as long to parse as others of its size, and
hundreds of connections may have received 256 KiB each when a turn begins. So what is parsed in one
turn is bounded by time for all connections together, and the peers take turns.

Used by `gateways/http_client/connection.py` and `gateways/http_client/pool.py`.
"""

import asyncio
from time import perf_counter
from typing import Final, Protocol

TURN_S: Final = 0.005
"""Limit of the time that all connections parse in one turn of the loop."""
SLICE_S: Final = 0.001
"""How long one connection parses before one of another peer does."""


class Parsing(Protocol):
    """A connection that has received what is not parsed yet."""

    peer: str

    def parse_some(self) -> bool:
        """Parse a piece; return whether there is more that can be parsed now."""


class ParseQueue:
    """The connections of a pool that wait until their data are parsed."""

    def __init__(self) -> None:
        """Use the event loop that runs now."""
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[str, dict[Parsing, None]] = {}
        self._left_s = TURN_S
        self._is_due = False

    def received(self, connection: Parsing) -> None:
        """Parse what a connection has received, at once unless this turn has done enough."""
        if self._waiting or self._left_s <= 0:
            self.add(connection)
            return
        if self._parsed(connection, self._left_s):
            self.add(connection)
        else:
            self._see_to_it()

    def add(self, connection: Parsing) -> None:
        """Let a connection parse in a later turn; adding it again changes nothing."""
        self._waiting.setdefault(connection.peer, {})[connection] = None
        self._see_to_it()

    def _see_to_it(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._run)

    def _run(self) -> None:
        """Begin a turn: parse for those that wait, one of each peer after the other."""
        self._left_s = TURN_S
        waiting = self._waiting
        try:
            while waiting and self._left_s > 0:
                peer = next(iter(waiting))
                connections = waiting.pop(peer)
                connection = next(iter(connections))
                del connections[connection]
                if connections:
                    waiting[peer] = connections
                if self._parsed(connection, min(SLICE_S, self._left_s)):
                    self.add(connection)
        finally:
            self._is_due = False
            if waiting:
                self._see_to_it()

    def _parsed(self, connection: Parsing, slice_s: float) -> bool:
        """Parse for so long; return whether there is more."""
        begun_s = now_s = perf_counter()
        has_more = True
        while has_more and now_s - begun_s < slice_s:
            has_more = connection.parse_some()
            now_s = perf_counter()
        self._left_s -= now_s - begun_s
        return has_more
