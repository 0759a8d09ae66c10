"""A server of uvicorn in the main thread that says where it listens.

It closes idle connections for others. The limit of uvicorn (``limit_concurrency``) counts them, so
that whoever opens enough of them has every request refused (0.54). Here a connection above the
limit closes some without a whole request, of the address that has most of these, the oldest first.

Used by `functions/serving.py`.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from socket import socket
from typing import Any, ClassVar, Final, TypeAlias

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from rillflow.listening import allow
from rillflow.private_apis.assumption import Assumption, missing, not_in_source, other_parameters
from rillflow.private_apis.uvicorn_server.deadlines import bound_connections

Listening: TypeAlias = Callable[[str, int], None]

_MORE_CONNECTIONS: Final = 1_000
"""Connections beyond those of calls under way."""
_PART_CLOSED: Final = 20
"""One of so many is closed at once, so that not every connection looks at all others."""
_FILES_PER_CONNECTION: Final = 2

_numbers: Final = count()


def run(
    application: Any,
    *,
    sockets: list[socket],
    most_calls: int,
    drain_s: int,
    listening: Listening,
) -> None:
    """Serve an ASGI application until SIGINT or SIGTERM.

    Args:
        application: It is told of the end by its lifespan.
        sockets: Where to listen. uvicorn would log what is wrong with an address, and exit.
        most_calls: Calls that may be under way; the application refuses more. Idle connections are
            closed for others where there are 1,000 more, or no files for so many.
        drain_s: Seconds that requests under way have after a signal.
        listening: Is told of each address that is listened on.
    """
    bound_connections()
    config = uvicorn.Config(
        application,
        http=protocol_for(possible_connections(most_calls + _MORE_CONNECTIONS)),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=drain_s,
    )
    _Server(config, listening).run(sockets)


class BoundedProtocol(HttpToolsProtocol):
    """A connection that makes room for itself where there are too many.

    Attributes:
        most_connections: How many may be open.
        number: Older connections have lower numbers.
    """

    most_connections: ClassVar[int]
    number: int

    def connection_made(  # type: ignore[override] # as in uvicorn
        self, transport: asyncio.Transport
    ) -> None:
        """Begin, and close idle connections if there are too many."""
        self.number = next(_numbers)
        super().connection_made(transport)
        if len(self.connections) > self.most_connections:
            self._make_room()

    def _make_room(self) -> None:
        idle = [
            each
            for each in self.connections
            if isinstance(each, BoundedProtocol) and each is not self and _is_idle(each)
        ] or [self]
        addresses = Counter(map(_address, idle))
        [(busiest, held)] = addresses.most_common(1)
        at_once = min(max(1, self.most_connections // _PART_CLOSED), (held + 1) // 2)
        of_busiest = [each for each in idle if _address(each) == busiest]
        for connection in sorted(of_busiest, key=lambda each: each.number)[:at_once]:
            self.connections.discard(connection)
            connection.transport.abort()


def protocol_for(most_connections: int) -> type[BoundedProtocol]:
    """Return the protocol of a server with up to so many connections."""
    return type("BoundedProtocol", (BoundedProtocol,), {"most_connections": most_connections})


def possible_connections(wanted: int) -> int:
    """Let this process have files for so many connections; return for how many it has."""
    return min(wanted, allow(wanted * _FILES_PER_CONNECTION) // _FILES_PER_CONNECTION)


def _is_idle(connection: HttpToolsProtocol) -> bool:
    """Tell whether no request is under way that has come as a whole."""
    cycle = connection.cycle
    return cycle is None or cycle.response_complete or cycle.more_body


def _address(connection: HttpToolsProtocol) -> str:
    return connection.client[0] if connection.client else ""


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, listening: Listening) -> None:
        super().__init__(config)
        self._listening = listening

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Listen, and say where."""
        await super().startup(sockets)
        for server in self.servers if self.started else ():
            for each in server.sockets:
                self._listening(*each.getsockname()[:2])


def _differences() -> Iterator[str]:
    yield from missing(uvicorn.Server, "startup", "run")
    yield from other_parameters(uvicorn.Server.startup, "sockets")
    yield from not_in_source(uvicorn.Server.startup, "self.servers", "self.started = True")
    fields = ("self.cycle", "self.client", "self.connections =")
    yield from not_in_source(HttpToolsProtocol.__init__, *fields)
    made = ("self.connections.add(self)", "self.transport =", "self.client =")
    yield from not_in_source(HttpToolsProtocol.connection_made, *made)
    told = ("self.connections.discard(self)",)
    yield from not_in_source(HttpToolsProtocol.connection_lost, *told)
    cycle = ("self.response_complete", "self.more_body = True")
    yield from not_in_source(RequestResponseCycle.__init__, *cycle)


RELIES_ON: Final = (
    Assumption(
        library="uvicorn",
        relies_on="Server.startup(sockets), which sets servers and started",
        seen_with="0.54",
        if_it_changes="loud: `rillflow functions serve` does not start, or does not say where",
        differences=_differences,
    ),
    Assumption(
        library="uvicorn",
        relies_on="fields of HttpToolsProtocol (cycle, transport, client, connections)"
        " and of its cycle (response_complete, more_body)",
        seen_with="0.54",
        if_it_changes="loud: `rillflow functions serve` logs an error for each connection, once"
        " there are too many",
        differences=_differences,
    ),
)
