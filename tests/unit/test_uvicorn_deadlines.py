"""A connection that neither asks nor reads is let go of, and one that does is kept."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from rillflow.private_apis.uvicorn_server.deadlines import (
    HEADERS_S,
    UNREAD_S,
    Watch,
    bound_connections,
)

CONNECTION_MADE: Final = HttpToolsProtocol.connection_made
SHOULD_UPGRADE: Final = HttpToolsProtocol._should_upgrade
LARGE: Final = b"x" * (32 * 1024 * 1024)
REQUEST: Final = b"GET /small HTTP/1.1\r\nHost: here\r\n\r\n"
HANDSHAKE: Final = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
MOST_TURNS: Final = 100_000


class Loop:
    """A loop's clock, which a test sets forward."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def time(self) -> float:
        return self.now_s


class Served:
    """A server, and the watch over its connections."""

    def __init__(self, port: int, state: ServerState, watch: Watch, clock: Loop) -> None:
        self.port = port
        self.state = state
        self.watch = watch
        self.clock = clock

    async def connect(self, sent: bytes = b"") -> socket.socket:
        """Return a connection that the server has, and has read so much from."""
        loop, before = asyncio.get_running_loop(), len(self.state.connections)
        connection = socket.socket()
        connection.setblocking(False)  # noqa: FBT003 - its own
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await loop.sock_connect(connection, ("127.0.0.1", self.port))
        await loop.sock_sendall(connection, sent)
        await until(lambda: len(self.state.connections) > before)
        return connection

    def after(self, seconds: float) -> None:
        self.clock.now_s += seconds
        self.watch.look()

    @property
    def open(self) -> list[Any]:
        return [each for each in self.state.connections if not each.transport.is_closing()]


async def until(holds: Any) -> None:
    for _ in range(MOST_TURNS):
        if holds():
            return
        await asyncio.sleep(0)
    raise AssertionError("it does not come")


async def answer(scope: Any, receive: Any, send: Any) -> None:
    if scope["path"] == "/waiting":
        await receive()
        await receive()
        return
    body = LARGE if scope["path"] in ("/large", "/given-up") else b"small"
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    more = scope["path"] == "/given-up"  # where the rest never comes
    await send({"type": "http.response.body", "body": body, "more_body": more})


@asynccontextmanager
async def serving() -> AsyncIterator[Served]:
    config = uvicorn.Config(answer, lifespan="off", log_config=None, timeout_keep_alive=3600)
    config.load()
    state, clock = ServerState(), Loop()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: HttpToolsProtocol(config, state, {}), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield Served(port, state, Watch(state, clock), clock)  # type: ignore[arg-type] # its clock
    server.close()
    for connection in list(state.connections):
        connection.transport.abort()
    await until(lambda: not state.connections)


@pytest.mark.parametrize("sent", [b"", b"G", b"GET / HTTP/1.1\r\nHost: here\r\nX: "])
async def test_headers_have_half_a_minute_whatever_comes_of_them(sent: bytes) -> None:
    async with serving() as served:
        connection = await served.connect(sent)
        served.after(0)
        for _ in range(3):
            await asyncio.get_running_loop().sock_sendall(connection, b"x")
            served.after(HEADERS_S / 3)
        assert len(served.open) == 1
        served.after(1)
        assert not served.open
        connection.close()


async def test_what_is_sent_behind_an_answer_keeps_no_connection() -> None:
    async with serving() as served:
        head = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 999999\r\n\r\n"
        connection = await served.connect(head)
        loop = asyncio.get_running_loop()
        assert b"200" in await loop.sock_recv(connection, 4096)
        await loop.sock_sendall(connection, b"more")
        [kept] = served.open
        await until(lambda: kept.timeout_keep_alive_task is None)
        served.after(0)
        served.after(HEADERS_S + 1)
        assert not served.open
        connection.close()


async def test_who_does_not_read_an_answer_is_let_go_of_and_who_reads_is_not() -> None:
    async with serving() as served:
        request = REQUEST.replace(b"small", b"large")
        silent, reading = await served.connect(request), await served.connect(request)
        await until(lambda: all(_unsent(each) for each in served.state.connections))
        [kept] = [each for each in served.open if each.client == reading.getsockname()]
        served.after(0)
        for _ in range(4):
            await _read_some(reading, kept)
            served.after(UNREAD_S / 3)
        assert served.open == [kept]
        silent.close()
        reading.close()


async def test_an_answer_that_was_given_up_keeps_no_connection_either() -> None:
    async with serving() as served:
        silent = await served.connect(REQUEST.replace(b"small", b"given-up"))
        await until(lambda: served.state.connections and not served.open)
        served.after(0)
        served.after(UNREAD_S / 2)
        assert len(served.state.connections) == 1
        served.after(UNREAD_S)
        await until(lambda: not served.state.connections)
        silent.close()


async def _read_some(connection: socket.socket, served_as: Any) -> None:
    """Read until the server can send more."""
    before = _unsent(served_as)
    while _unsent(served_as) == before:
        await asyncio.get_running_loop().sock_recv(connection, 65_536)
        await asyncio.sleep(0)


def _unsent(connection: Any) -> int:
    return int(connection.transport.get_write_buffer_size())


async def test_long_polls_and_idle_connections_are_left_alone() -> None:
    async with serving() as served:
        polling = await served.connect(REQUEST.replace(b"small", b"waiting"))
        idle = await served.connect(REQUEST)
        assert b"200" in await asyncio.get_running_loop().sock_recv(idle, 4096)
        for _ in range(9):
            served.after(HEADERS_S)
        assert len(served.open) == 2
        polling.close()
        idle.close()


@pytest.fixture
def bound() -> Iterator[None]:
    """The mended protocol, for one test."""
    bound_connections()
    bound_connections()
    yield
    HttpToolsProtocol.connection_made = CONNECTION_MADE  # type: ignore[method-assign] # as it was
    HttpToolsProtocol._should_upgrade = SHOULD_UPGRADE  # type: ignore[method-assign] # as it was


@pytest.mark.usefixtures("bound")
async def test_every_server_of_the_process_is_watched_once() -> None:
    async with serving() as served:
        first, second = await served.connect(), await served.connect()
        loop = asyncio.get_running_loop()
        timers = [each for each in loop._scheduled if "look_on" in repr(each)]  # type: ignore[attr-defined] # asyncio's own
        assert len(timers) == 1
        first.close()
        second.close()


@pytest.mark.usefixtures("bound")
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"Content-Length: 3\r\n\r\nabc", b"200"),
        (b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", b"200"),
        (b"Content-Length: 0\r\n\r\n", b"500"),  # the application has no WebSocket
        (b"\r\n", b"500"),
    ],
)
async def test_a_handshake_with_a_body_is_answered_as_any_request(
    body: bytes, status: bytes
) -> None:
    async with serving() as served, asyncio.timeout(60):
        connection = await served.connect(REQUEST.removesuffix(b"\r\n") + HANDSHAKE + body)
        answer = await asyncio.get_running_loop().sock_recv(connection, 4096)
        assert answer.split(b" ", 2)[1] == status
        connection.close()
