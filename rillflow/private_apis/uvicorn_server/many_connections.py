"""A patch of uvicorn: a server accepts many connections in one iteration of uvloop, not one.

uvloop accepts one connection of each socket that it listens on in an iteration (seen in 0.23; the
loop of asyncio accepts all). So where 1,000 connections begin at once, the 1,001st is answered
after 1,001 iterations, in each of which requests of the others are handled, which takes seconds.
Here a server listens on copies of its sockets as well: each is ready as soon as a connection
waits, and each accepts one.

Used by `private_apis/ray_serve/shortcut.py`.
"""

import socket
from collections.abc import Iterator
from typing import Final

import uvicorn

from rillflow.private_apis.assumption import Assumption, not_in_source, other_parameters

COPIES: Final = 31
"""Each is one more call of the system, of a microsecond, for each connection that begins."""
_startup: Final = uvicorn.Server.startup


def accept_many() -> None:
    """Patch the servers of this process; doing it again changes nothing."""
    uvicorn.Server.startup = _listen_on_copies  # type: ignore[method-assign] # the mending


async def _listen_on_copies(
    self: uvicorn.Server, sockets: list[socket.socket] | None = None
) -> None:
    if sockets is not None:  # each copy is closed with the server that listens on it
        sockets = sockets + [each.dup() for each in sockets for _ in range(COPIES)]
    await _startup(self, sockets)


def _differences() -> Iterator[str]:
    yield from other_parameters(_startup, "sockets")
    listening = ("for sock in sockets:", "loop.create_server(create_protocol, sock=sock")
    yield from not_in_source(_startup, *listening, "self.servers.append(server)")
    yield from not_in_source(uvicorn.Server.shutdown, "server.close()")


RELIES_ON: Final = (
    Assumption(
        library="uvicorn",
        relies_on="Server.startup(sockets) makes a server of the loop for each socket, which"
        " shutdown() closes",
        seen_with="0.54",
        if_it_changes="loud where sockets are given otherwise: no replica starts; silent where"
        " startup() is not called: connections that begin at once are accepted one by one",
        differences=_differences,
    ),
)
