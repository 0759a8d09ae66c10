"""Deadlines for connections that uvicorn would keep for ever.

uvicorn has one for idle connections after an answer, and none for a client that connects and sends
nothing, sends its headers byte by byte, continues to send a body after its answer, or does not read
its answer (0.54). HAProxy has deadlines for these; this module serves clients that reach uvicorn
without it. No connection has a timer of its own: all connections of a server are checked together.
A handshake of a WebSocket that has a body is never answered, so such a request counts as any other.

Used by `private_apis` and `serve/deployment.py`.
"""

import asyncio
from collections.abc import Iterator
from typing import Final, NamedTuple
from weakref import WeakSet

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from rillflow.private_apis.assumption import Assumption, missing, not_in_source

HEADERS_S: Final = 30.0
"""For the headers of a request, from the connection on or from the answer before."""
UNREAD_S: Final = 120.0
"""Within which ``READ_BYTES_PER_S`` of an answer must have been read.

The kernel takes up to some megabytes at once, and the next when a third of that has been read.
"""
READ_BYTES_PER_S: Final = 500
LOOK_S: Final = 5.0

_OF_BODIES: Final = (b"content-length", b"transfer-encoding")
_connection_made: Final = HttpToolsProtocol.connection_made
_should_upgrade: Final = HttpToolsProtocol._should_upgrade  # noqa: SLF001 - what is mended
_watched: Final[WeakSet[ServerState]] = WeakSet()


class _Seen(NamedTuple):
    """What a connection was at, and since when."""

    doing: object
    unsent: int
    since_s: float


class Watch:
    """Looks at the connections of one server as long as it has any."""

    def __init__(
        self,
        state: ServerState,
        loop: asyncio.AbstractEventLoop,
        *,
        headers_s: float = HEADERS_S,
        unread_s: float = UNREAD_S,
    ) -> None:
        self._state = state
        self._loop = loop
        self._headers_s = headers_s
        self._unread_s = unread_s
        self._seen: dict[HttpToolsProtocol, _Seen] = {}

    def look(self) -> None:
        """Let go of connections that are late."""
        now_s, before, self._seen = self._loop.time(), self._seen, {}
        for connection in list(self._state.connections):
            if not isinstance(connection, HttpToolsProtocol) or _has_closed(connection):
                continue
            now = _doing(connection, now_s)
            if now is None:
                continue
            seen = before.get(connection)
            if seen is None or _has_moved(seen, now):
                self._seen[connection] = now
                continue
            self._seen[connection] = seen
            longest_s = self._unread_s if now.unsent else self._headers_s
            if now_s - seen.since_s > longest_s:
                connection.transport.abort()

    def look_on(self) -> None:
        """Look, and again later."""
        self.look()
        if self._state.connections:
            self._loop.call_later(LOOK_S, self.look_on)
        else:
            _watched.discard(self._state)


def bound_connections() -> None:
    """Give the servers of this process these deadlines; doing it again changes nothing."""
    HttpToolsProtocol.connection_made = _made  # type: ignore[method-assign] # the mending
    HttpToolsProtocol._should_upgrade = _is_handshake  # type: ignore[method-assign]  # noqa: SLF001


def _made(self: HttpToolsProtocol, transport: asyncio.Transport) -> None:
    _connection_made(self, transport)
    if self.server_state not in _watched:
        _watched.add(self.server_state)
        self.loop.call_later(LOOK_S, Watch(self.server_state, self.loop).look_on)


def _is_handshake(self: HttpToolsProtocol) -> bool:
    """Tell whether a request begins a WebSocket; none does that has a body (RFC 6455, 4.1)."""
    return _should_upgrade(self) and not any(
        name in _OF_BODIES and value != b"0" for name, value in self.headers
    )


def _has_closed(connection: HttpToolsProtocol) -> bool:
    """Tell whether a connection is being closed, and does not wait for its client to read."""
    transport = connection.transport
    return transport.is_closing() and not transport.get_write_buffer_size()


def _doing(connection: HttpToolsProtocol, now_s: float) -> _Seen | None:
    """Tell what a connection is at; None where it has time, or uvicorn has a timer."""
    cycle = connection.cycle
    unsent = connection.transport.get_write_buffer_size()
    if unsent:
        return _Seen(cycle, unsent, now_s)
    is_answered = cycle is None or cycle.response_complete
    if is_answered and connection.timeout_keep_alive_task is None:
        return _Seen(cycle, 0, now_s)
    return None


def _has_moved(seen: _Seen, now: _Seen) -> bool:
    """Tell whether a connection is at something else, or enough of an answer has been read."""
    if seen.doing is not now.doing or bool(seen.unsent) is not bool(now.unsent):
        return True
    if now.unsent > seen.unsent:
        return True  # of more than one part, and there is room for the next
    read = seen.unsent - now.unsent
    return bool(read) and read >= READ_BYTES_PER_S * (now.since_s - seen.since_s)


def _differences() -> Iterator[str]:
    fields = ("self.cycle", "self.timeout_keep_alive_task", "self.server_state", "self.loop")
    yield from not_in_source(HttpToolsProtocol.__init__, *fields)
    yield from not_in_source(_connection_made, "self.connections.add(self)", "self.transport =")
    yield from not_in_source(RequestResponseCycle.__init__, "self.response_complete")
    asked = ("self.parser.should_upgrade() and self._should_upgrade()",)
    yield from not_in_source(HttpToolsProtocol.on_headers_complete, *asked)
    yield from not_in_source(HttpToolsProtocol.data_received, "if self._should_upgrade():")
    yield from missing(ServerState(), "connections")


RELIES_ON: Final = (
    Assumption(
        library="uvicorn",
        relies_on="fields of HttpToolsProtocol (cycle, transport, timeout_keep_alive_task,"
        " server_state, loop), of its cycle (response_complete) and of ServerState (connections)",
        seen_with="0.54",
        if_it_changes="loud: the first look at a server's connections logs an error; silent where"
        " uvicorn uses another protocol class: slow connections have no deadline without HAProxy",
        differences=_differences,
    ),
)
