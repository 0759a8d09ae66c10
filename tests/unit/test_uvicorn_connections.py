"""Idle connections beyond a limit are closed, of the address that has most; requests go on."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import uvicorn
from uvicorn.server import ServerState

from rillflow.private_apis.uvicorn_server.server import possible_connections, protocol_for
from tests.unit.test_uvicorn_deadlines import REQUEST, answer, until

MOST: Final = 10
UNFINISHED: Final = b"POST /waiting HTTP/1.1\r\nHost: here\r\nContent-Length: 9\r\n\r\n1"


class Served:
    """A server with its limit of connections, and the sockets that are connected to it."""

    def __init__(self, port: int, state: ServerState) -> None:
        self.port = port
        self.state = state
        self.sockets: list[socket.socket] = []

    async def connect(self, sent: bytes = b"", address: str = "127.0.0.1") -> Any:
        """Return the address of a connection from which the server has read so much."""
        loop, connection = asyncio.get_running_loop(), socket.socket()
        self.sockets.append(connection)
        connection.setblocking(False)  # noqa: FBT003 - its own
        connection.bind((address, 0))
        await loop.sock_connect(connection, ("127.0.0.1", self.port))
        own = connection.getsockname()
        await until(lambda: own in self.open)
        [made] = [each for each in self.connections if each.client == own]
        await loop.sock_sendall(connection, sent)
        await until(lambda: not sent or made.cycle is not None)
        return own

    async def ask(self, address: str = "127.0.0.1") -> Any:
        """Connect, ask, and return the address once there is an answer."""
        own = await self.connect(REQUEST, address)
        loop = asyncio.get_running_loop()
        assert b" 200 " in await loop.sock_recv(self.sockets[-1], 4096)
        return own

    @property
    def connections(self) -> list[Any]:
        return list(self.state.connections)

    @property
    def open(self) -> set[Any]:
        return {each.client for each in self.connections if not each.transport.is_closing()}


@asynccontextmanager
async def serving() -> AsyncIterator[Served]:
    config = uvicorn.Config(answer, lifespan="off", log_config=None, timeout_keep_alive=3600)
    config.load()
    state, protocol = ServerState(), protocol_for(MOST)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: protocol(config, state, {}), "127.0.0.1", 0)
    served = Served(server.sockets[0].getsockname()[1], state)
    yield served
    server.close()
    for each in served.sockets:
        each.close()
    await until(lambda: not state.connections)


async def test_silent_connections_give_way_to_callers_the_oldest_first() -> None:
    async with serving() as served:
        silent = [await served.connect() for _ in range(MOST * 3)]
        await served.ask()
        assert len(served.open) <= MOST
        assert not served.open & set(silent[:MOST])
        assert silent[-1] in served.open


async def test_unfinished_bodies_give_way_too_and_who_waits_for_an_answer_stays() -> None:
    async with serving() as served:
        waiting = [await served.connect(REQUEST.replace(b"small", b"waiting")) for _ in range(5)]
        unfinished = [await served.connect(UNFINISHED) for _ in range(MOST * 2)]
        await served.ask()
        assert set(waiting) < served.open
        assert not served.open & set(unfinished[:MOST])


async def test_the_address_that_has_most_gives_way() -> None:
    async with serving() as served:
        others = [await served.connect(address="127.0.0.2"), await served.ask("127.0.0.3")]
        for _ in range(MOST * 2):
            await served.connect()
        assert set(others) < served.open


async def test_where_all_wait_for_answers_a_new_connection_is_closed() -> None:
    async with serving() as served:
        path = REQUEST.replace(b"small", b"waiting")
        waiting = [await served.connect(path) for _ in range(MOST)]
        loop = asyncio.get_running_loop()
        with socket.socket() as late:
            late.setblocking(False)  # noqa: FBT003 - its own
            await loop.sock_connect(late, ("127.0.0.1", served.port))
            with suppress(ConnectionResetError):
                assert await loop.sock_recv(late, 1) == b""
        assert served.open == set(waiting)


def test_there_are_files_for_the_connections() -> None:
    possible = possible_connections(100)
    assert possible == possible_connections(100) == 100
