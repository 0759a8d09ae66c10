"""Connections that begin at once are accepted in a few iterations of the loop, and none later."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any, Final

import uvicorn
import uvloop

from rillflow.private_apis.uvicorn_server import many_connections
from rillflow.private_apis.uvicorn_server.many_connections import COPIES, accept_many

AT_ONCE: Final = 10 * (COPIES + 1)
MOST_ITERATIONS: Final = 30
BEGIN: Final = 5
"""Iterations that it takes to make the servers."""


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    """Answer no request: none is sent."""
    raise AssertionError((scope, receive, send))


@contextmanager
def as_uvicorn_has_it() -> Iterator[None]:
    """Take the patch back where a test before has made it, and one that is made inside."""
    before = uvicorn.Server.startup
    uvicorn.Server.startup = many_connections._startup  # type: ignore[method-assign] # as it was
    try:
        yield
    finally:
        uvicorn.Server.startup = before  # type: ignore[method-assign]


async def iterations_until_accepted(listening: socket.socket) -> int:
    """Return how many iterations pass until all that wait are accepted; then end the server."""
    config = uvicorn.Config(nothing, lifespan="off", log_config=None)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup([listening])
    connections, iterations = server.server_state.connections, 0
    while len(connections) < AT_ONCE:
        await asyncio.sleep(0)
        iterations += 1
    await server.shutdown([listening])
    return iterations


def test_connections_that_begin_at_once_are_accepted_many_in_an_iteration() -> None:
    with as_uvicorn_has_it(), ExitStack() as held:
        accept_many()
        accept_many()
        listening = socket.create_server(("127.0.0.1", 0), backlog=2 * AT_ONCE)
        address = listening.getsockname()
        for _ in range(AT_ONCE):
            held.enter_context(closing(socket.create_connection(address)))
        assert uvloop.run(iterations_until_accepted(listening)) <= MOST_ITERATIONS
        with socket.socket() as late:
            assert late.connect_ex(address) != 0


def test_one_by_one_would_take_an_iteration_each() -> None:
    """The loop is as the patch expects it."""
    with as_uvicorn_has_it(), ExitStack() as held:
        listening = socket.create_server(("127.0.0.1", 0), backlog=2 * AT_ONCE)
        for _ in range(AT_ONCE):
            held.enter_context(closing(socket.create_connection(listening.getsockname())))
        assert uvloop.run(iterations_until_accepted(listening)) >= AT_ONCE - BEGIN
