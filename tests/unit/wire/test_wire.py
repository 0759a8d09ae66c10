"""A server may say anything: a call ends soon, and nothing leaks into the next call."""

import asyncio
import gc
import gzip
import socket
import tracemalloc
import zlib
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from rillflow.gateways.http.gateway import HttpGateway
from rillflow.gateways.http_client.transport import PooledTransport
from rillflow.gateways.outbound.exchange import HttpCall
from rillflow.jsontypes import encode_json
from tests.loopback import (
    FAILS,
    Talk,
    answering,
    attempt,
    call,
    closed_port,
    gateway,
    raw_server,
)
from tests.unit.wire.talks import OK, PATIENT, open_wires, saying

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def flooding(beginning: bytes, again: bytes) -> Talk:
    """Say something, and then something else without end."""

    async def talk(_: StreamReader, writer: StreamWriter) -> None:
        writer.write(beginning)
        while not writer.is_closing():
            writer.write(again)
            await writer.drain()

    return talk


# --- floods and nonsense ------------------------------------------------------

TOO_LONG = "the headers of the answer are longer than 65536 bytes"


@pytest.mark.parametrize(
    ("talk", "reason"),
    [
        (flooding(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 1000), TOO_LONG),
        (flooding(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 10_000), TOO_LONG),
        (answering(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n"), TOO_LONG),
        (flooding(b"HTTP/1.1 200 ", b"o" * 10_000), TOO_LONG),
        (flooding(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100), TOO_LONG),
        (flooding(CHUNKED + b"1;", b"x" * 10_000), TOO_LONG),
        (flooding(CHUNKED + b"0\r\n", b"X: y\r\n" * 1000), TOO_LONG),
        (flooding(CHUNKED + b"0\r\nX: ", b"x" * 10_000), TOO_LONG),
        (flooding(b"", b"\0" * 10_000), "the answer is not HTTP"),
        (answering(CHUNKED + b"f" * 17 + b"\r\n"), "the answer is not HTTP"),
        (answering(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"), "the answer is not HTTP"),
        (
            answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
            "the answer is not HTTP",
        ),
        (
            answering(CHUNKED[:-2] + b"Content-Length: 2\r\n\r\n{}"),
            "the answer is not HTTP",
        ),
        (answering(b"SSH-2.0-OpenSSH_9.9\r\n"), "the answer is not HTTP"),
    ],
)
async def test_floods_and_nonsense_end_the_call(talk: Talk, reason: str) -> None:
    async with raw_server(talk) as server, gateway(**PATIENT) as opened:
        answer = await opened.call(attempt(server.url))
        assert answer.error == f"{FAILS}{reason} (POST {server.url})"
        assert (server.connections, server.requests) == (1, 1)
        await opened.close()
        assert open_wires(opened) == 0


@pytest.mark.parametrize(
    "talk",
    [
        flooding(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 10_000),
        flooding(CHUNKED + b"7fffffffffffffff\r\n", b"x" * 10_000),
        flooding(CHUNKED, b"10\r\n" + b"x" * 16 + b"\r\n"),
        flooding(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n", b"x" * 10_000),
    ],
    ids=["without length", "one chunk", "short chunks", "announced"],
)
async def test_an_endless_body_ends_the_call(talk: Talk) -> None:
    async with raw_server(talk) as server:
        answer = await call(server.url, {**PATIENT, "max_response_bytes": 100_000})
    assert answer.error == f"{FAILS}the answer is larger than 100000 bytes"


async def test_an_answer_in_short_chunks_takes_little_more_than_its_bytes() -> None:
    size = 1_600_000
    chunk = b"10\r\n" + b"x" * 16 + b"\r\n"
    talk = answering(CHUNKED + chunk * (size // 16) + b"0\r\n\r\n")
    async with raw_server(talk) as server, gateway(**PATIENT) as opened:
        tracemalloc.start()
        try:
            answer = await opened.call(attempt(server.url))
            _, most_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert answer.body == b"x" * size
    assert (
        most_bytes < len(CHUNKED) + 4 * size + 3 * size // 2
    )  # the server's own text is less than 1.5


async def test_an_answer_whose_chunks_are_mostly_packaging_ends_the_call() -> None:
    talk = flooding(CHUNKED, b"1;" + b"x" * 10_000 + b"\r\nx\r\n")
    async with raw_server(talk) as server:
        answer = await call(server.url, PATIENT)
    reason = "its chunks have more than 0.5 bytes of packaging for each of the answer"
    assert answer.error == f"{FAILS}{reason} (POST {server.url})"


@pytest.mark.parametrize(
    ("beginning", "reason"),
    [
        (b"Content-Length: 40\r\n\r\n" + b"x" * 20, "the answer is larger than 10 bytes"),
        (
            b"Transfer-Encoding: chunked\r\n\r\n28\r\n" + b"x" * 20,
            "the answer is larger than 10 bytes",
        ),
        (b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: " + b"x" * 1_000_000, TOO_LONG),
    ],
    ids=["announced", "one chunk", "trailers"],
)
async def test_the_rest_of_a_refused_answer_is_no_part_of_the_next_one(
    beginning: bytes, reason: str
) -> None:
    talk = saying(b"HTTP/1.1 200 OK\r\n" + beginning, OK)
    async with raw_server(talk) as server, gateway(**PATIENT, max_response_bytes=10) as opened:
        refused = await opened.call(attempt(server.url))
        assert refused.error is not None
        assert reason in refused.error
        assert (await opened.call(attempt(server.url, attempt=2))).body == b"{}"
        assert (server.connections, server.requests) == (2, 2)


# --- whole answers ------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (OK, b"{}"),
        (OK.replace(b"\r", b""), b"{}"),
        (CHUNKED + b"2 \r\n{}\r\n0\r\n\r\n", b"{}"),
        (b"HTTP/1.1 103 Early Hints\r\nLocation: /x\r\n\r\nHTTP/1.1 100\r\n\r\n" + OK, b"{}"),
        (CHUNKED + b"1\r\n{\r\n1;ext=1\r\n}\r\n0\r\nLocation: /x\r\n\r\n", b"{}"),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n", None),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", None),
        (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n" + b"x" * 70_000, b"x" * 70_000),
    ],
)
async def test_an_answer_of_known_length_leaves_the_connection_open(
    answer: bytes, body: bytes | None
) -> None:
    async def in_pieces(_: StreamReader, writer: StreamWriter) -> None:
        for piece in (answer[:5], answer[5:25], answer[25:-1], answer[-1:]):
            writer.write(piece)
            await asyncio.sleep(0)

    async with raw_server(in_pieces) as server, gateway(**PATIENT) as opened:
        for number in range(2):
            result = await opened.call(attempt(server.url, attempt=number))
            assert (result.error, result.body, result.poll_url) == (None, body, None)
        assert (server.connections, server.requests) == (1, 2)
        assert open_wires(opened) == 1
        await opened.close()
        assert open_wires(opened) == 0


@pytest.mark.parametrize(
    ("answer", "verb", "body"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n{}", "POST", b"{}"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", "POST", b"{}"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}", "POST", b"{}"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", "HEAD", None),
        (CHUNKED, "HEAD", None),
        (b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nxyz", "POST", None),
    ],
)
async def test_after_some_answers_the_connection_is_not_used_again(
    answer: bytes, verb: str, body: bytes | None
) -> None:
    async with raw_server(answering(answer)) as server, gateway(**PATIENT) as opened:
        for number in range(2):
            result = await opened.call(attempt(server.url, attempt=number, request_type=verb))
            assert (result.error, result.body) == (None, body)
        assert open_wires(opened) <= 1
    assert (server.connections, server.requests) == (2, 2)


def bare_deflate(text: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(text) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "packed", "body"),
    [
        ("gzip", gzip.compress(b"{}", mtime=0), b"{}"),
        ("GZIP", gzip.compress(b"{", mtime=0) + gzip.compress(b"}", mtime=0), b"{}"),
        ("deflate", zlib.compress(b"{}"), b"{}"),
        ("deflate", bare_deflate(b"{}"), b"{}"),
        ("identity", b"{}", b"{}"),
        ("own-invention", b"{}", b"{}"),
        ("gzip", b"", None),
    ],
)
async def test_a_packed_answer_is_unpacked(encoding: str, packed: bytes, body: bytes) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\n\r\n".encode()
    async with raw_server(answering(head + packed)) as server:
        answer = await call(server.url)
    assert (answer.error, answer.body) == (None, body)


@pytest.mark.parametrize(
    ("encoding", "packed", "reason"),
    [
        ("gzip", gzip.compress(b"{}", mtime=0)[:-4], "the answer broke off"),
        ("deflate", b"?", "the answer cannot be unpacked"),
        ("gzip", b"{}", "the answer cannot be unpacked"),
        ("br", b"{}", "the answer is packed as br, which is not understood"),
    ],
)
async def test_an_answer_that_cannot_be_unpacked_fails_the_call(
    encoding: str, packed: bytes, reason: str
) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\n\r\n".encode()
    async with raw_server(answering(head + packed)) as server:
        answer = await call(server.url)
    assert answer.error == f"{FAILS}{reason} (POST {server.url})"


async def test_many_small_streams_in_one_answer_hold_nobody_up() -> None:
    """Each one copied what was left, which grew with the square of their number."""
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"
    packed = gzip.compress(b"") * 300_000 + gzip.compress(b"{}")
    async with raw_server(answering(head + packed)) as server:
        answer = await call(server.url, PATIENT)
    assert (answer.error, answer.body) == (None, b"{}")


async def test_a_failed_call_leaves_nothing_to_the_garbage_collector() -> None:
    """It looks so rarely that cycles with the data of calls would fill the memory."""
    url = f"http://127.0.0.1:{closed_port()}/work"
    async with gateway(**PATIENT) as opened:
        gc.collect()
        gc.disable()
        try:
            answer = await opened.call(attempt(url))
            assert answer.error is not None
            left = [each for each in gc.get_objects() if isinstance(each, HttpCall)]
        finally:
            gc.enable()
    assert left == []


# --- kept connections ---------------------------------------------------------


@pytest.mark.parametrize("extra", [OK, b"HTTP/1.1", b"nonsense"])
async def test_what_follows_an_answer_is_not_taken_for_the_next_one(extra: bytes) -> None:
    payloads = [OK + extra, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2"]
    async with raw_server(saying(*payloads)) as server, gateway(**PATIENT) as opened:
        assert (await opened.call(attempt(server.url))).body == b"{}"
        assert (await opened.call(attempt(server.url, attempt=2))).body == b"2"
    assert (server.connections, server.requests) == (2, 2)


async def test_an_idle_connection_that_says_something_is_closed() -> None:
    gone = asyncio.Event()
    payloads = [b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1", OK]

    async def talk(reader: StreamReader, writer: StreamWriter) -> None:
        writer.write(payloads.pop(0))
        if payloads:
            await answered.wait()
            writer.write(OK)
            assert not await reader.read()
            gone.set()

    answered = asyncio.Event()
    async with raw_server(talk) as server, gateway(**PATIENT) as opened:
        assert (await opened.call(attempt(server.url))).body == b"1"
        answered.set()
        await gone.wait()
        assert (await opened.call(attempt(server.url, attempt=2))).body == b"{}"
    assert (server.connections, server.requests) == (2, 2)


async def test_an_answer_that_comes_before_the_request_was_read_counts() -> None:
    refused = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"

    async def hasty(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(refused)
        await reader.read(1)
        await over.wait()
        writer.close()

    over = asyncio.Event()
    server = await asyncio.start_server(hasty, "127.0.0.1", 0, limit=1024)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/work"
    async with gateway(**PATIENT) as opened:
        answer = await opened.call(attempt(url, input=encode_json({"t": "x" * 20_000_000})))
        assert answer.error == f"{FAILS}413 Too Large"
        over.set()
        await opened.close()
        assert open_wires(opened) == 0
    server.close()


async def accepted(listener: socket.socket) -> socket.socket:
    connection, _ = await asyncio.get_running_loop().sock_accept(listener)
    connection.settimeout(0)
    return connection


async def request_of(connection: socket.socket) -> bytes:
    """Read a request whose body ends with a brace."""
    loop, text = asyncio.get_running_loop(), b""
    while not text.endswith(b"}"):
        piece = await loop.sock_recv(connection, 65_536)
        assert piece
        text += piece
    return text


@asynccontextmanager
async def kept_connection(opened: HttpGateway) -> AsyncIterator[tuple[socket.socket, ...]]:
    """Make a call by hand, whose connection is kept; give the listener and the server's end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        calling = asyncio.ensure_future(opened.call(attempt(url_of(listener))))
        connection = await accepted(listener)
        await request_of(connection)
        await asyncio.get_running_loop().sock_sendall(connection, OK)
        assert (await calling).body == b"{}"
        with connection:
            yield listener, connection


def url_of(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}/work"


@pytest.mark.parametrize("body_bytes", [10, 3_000_000])
async def test_a_kept_connection_that_was_closed_before_the_request_came_is_replaced(
    body_bytes: int,
) -> None:
    """Nobody has seen the request, so this is no second attempt."""
    inputs = encode_json({"t": "x" * body_bytes})
    async with gateway(**PATIENT) as opened, kept_connection(opened) as (listener, connection):
        connection.close()
        # The loop has had no occasion to see the end.
        second = attempt(url_of(listener), attempt=2, input=inputs)
        calling = asyncio.ensure_future(opened.call(second))
        fresh = await accepted(listener)
        with fresh:
            request = await request_of(fresh)
            await asyncio.get_running_loop().sock_sendall(fresh, OK)
            assert (await calling).body == b"{}"
        assert request.count(b"POST ") == 1


async def test_a_kept_connection_whose_end_was_heard_of_is_not_used_although_it_is_silent() -> None:
    """Over TLS the end is told before the connection ends."""
    async with gateway(**PATIENT) as opened, kept_connection(opened) as _:
        transport = opened._transport
        assert isinstance(transport, PooledTransport)
        [wire] = transport._pool._wires
        assert wire.is_quiet()
        wire.eof_received()
        assert not wire.is_quiet()
        assert transport._pool.take(wire.kept_for) is None


async def test_a_request_that_was_read_is_not_repeated() -> None:
    async with gateway(**PATIENT) as opened, kept_connection(opened) as (listener, connection):
        calling = asyncio.ensure_future(opened.call(attempt(url_of(listener), attempt=2)))
        await request_of(connection)
        connection.close()
        answer = await calling
        assert answer.error is not None
        assert "the connection was closed before an answer" in answer.error
        with pytest.raises(BlockingIOError):
            listener.accept()


async def test_idle_connections_are_closed_after_a_while() -> None:
    async with (
        gateway(**PATIENT, keep_alive_s=0.5) as opened,
        kept_connection(opened) as (_, connection),
    ):
        assert open_wires(opened) == 1
        assert not await asyncio.get_running_loop().sock_recv(connection, 1)
        assert open_wires(opened) == 0


@pytest.mark.parametrize("cancel", [True, False], ids=["cancelled", "timed out"])
async def test_a_call_that_is_given_up_closes_its_connection(*, cancel: bool) -> None:
    gone = asyncio.Event()

    async def listen(reader: StreamReader, _: StreamWriter) -> None:
        assert not await reader.read()
        gone.set()

    limit_s = 60.0 if cancel else 1.0
    async with raw_server(listen) as server, gateway(call_timeout_s=limit_s) as opened:
        calling = asyncio.ensure_future(opened.call(attempt(server.url)))
        await server.arrived.wait()
        if cancel:
            calling.cancel()
        await asyncio.wait({calling})
        assert calling.cancelled() == cancel
        await gone.wait()
        await asyncio.sleep(0)
        assert open_wires(opened) == 0


async def test_a_server_that_does_not_take_connections_fails_the_call_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.settimeout(0)
            one.connect_ex(listener.getsockname())
        answer = await call(url_of(listener), {**PATIENT, "connect_timeout_s": 0.05})
        for one in waiting:
            one.close()
    assert answer.error == f"{FAILS}no connection within the time-out"
