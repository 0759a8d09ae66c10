"""Every HTTP transport makes one exchange in the same way, whatever the other side does."""

import asyncio
import json
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from typing import Final, Literal

import pytest
from aiohttp import web

from rillflow.errors import BrokenExchangeError, GatewayError, NotConnectedError
from rillflow.gateways.http_client.connection import SMALL_BYTES
from rillflow.gateways.http_client.resolver import ASKING_WORKSPACE
from rillflow.gateways.http_client.transport import HttpTransport, transport_of
from rillflow.gateways.outbound.egress import egress_rules
from rillflow.gateways.outbound.exchange import HttpCall
from rillflow.gateways.outbound.settings import HttpSettings
from tests.hostile_answers import BUFFERS_BYTES, DRIPS, Dripping, Endless
from tests.loopback import (
    PATIENT_S,
    RawServer,
    Talk,
    answering,
    closed_port,
    raw_server,
    read_request,
    web_server,
)

MOST: Final = 1_000_000
OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture(name="kind", params=["own", "aiohttp"])
def _kind(request: pytest.FixtureRequest) -> Literal["own", "aiohttp"]:
    kind: Literal["own", "aiohttp"] = request.param
    return kind


@pytest.fixture
async def transport(kind: Literal["own", "aiohttp"]) -> AsyncIterator[HttpTransport]:
    opened = transport_of(HttpSettings(transport=kind, connect_timeout_s=5.0))
    yield opened
    await opened.close()


def saying(*payloads: bytes) -> Talk:
    left = list(payloads)

    async def talk(_: StreamReader, writer: StreamWriter) -> None:
        writer.write(left.pop(0))
        await writer.drain()

    return talk


def call_of(server: RawServer, method: str = "POST", body: bytes | None = b"{}") -> HttpCall:
    return HttpCall(method, server.url, (("X-Mode", "sync"),), body)


async def heard(request: web.Request) -> web.Response:
    names = {name.lower(): value for name, value in request.headers.items()}
    return web.json_response([request.method, request.raw_path, names, await request.text()])


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_the_other_side_sees_what_was_built_and_nothing_else(
    transport: HttpTransport, method: str
) -> None:
    body = None if method in ("GET", "OPTIONS") else b'{"a": 1}'
    sent = (("Content-Type", "application/json"), ("X-Mode", "sync")) if body else ()
    async with web_server(f=heard) as url:
        call = HttpCall(method, f"{url}/f?a=%7B1%7D&b=+x", sent, body, user_info="me:p%40ss")
        reply = await transport.exchange(call, most_bytes=MOST)
    expected = {"host": url.removeprefix("http://"), "authorization": "Basic bWU6cEBzcw=="}
    expected |= {name.lower(): value for name, value in sent}
    if body is not None:
        expected["content-length"] = str(len(body))
    assert json.loads(reply.body) == [method, "/f?a=%7B1%7D&b=+x", expected, (body or b"").decode()]


async def test_the_head_of_a_response_has_the_headers_that_anybody_reads(
    transport: HttpTransport,
) -> None:
    head = b"HTTP/1.1 429 Slow Down\r\nRetry-After: 7\r\nX-Other: 1\r\nContent-Type: text/plain\r\n"
    async with raw_server(saying(head + b"Content-Length: 4\r\n\r\nlate")) as server:
        reply = await transport.exchange(call_of(server), most_bytes=MOST)
    assert (reply.status, reply.reason, reply.body) == (429, "Slow Down", b"late")
    assert reply.headers["retry-after"] == "7"
    assert "x-other" not in reply.headers


@pytest.mark.parametrize(
    "payload",
    [
        OK,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
    ],
    ids=["with a length", "in chunks", "announced"],
)
async def test_a_whole_response_is_read_and_its_connection_used_again(
    transport: HttpTransport, payload: bytes
) -> None:
    async with raw_server(saying(payload, payload)) as server:
        for _ in range(2):
            reply = await transport.exchange(call_of(server), most_bytes=MOST)
            assert reply.body == b"{}"
    assert (server.connections, server.requests) == (1, 2)


async def test_a_late_second_answer_is_not_taken_for_that_of_another_workspace(
    transport: HttpTransport,
) -> None:
    """It comes when the next request is there, so that no look at the connection tells it."""
    false = OK.replace(b"{}", b"[]")
    is_first = True

    async def talk(reader: StreamReader, writer: StreamWriter) -> None:
        nonlocal is_first
        writer.write(OK)
        if is_first:
            is_first = False
            await read_request(reader)
            writer.write(false)

    async with raw_server(talk) as server:
        for workspace in ("hostile", "other", "other"):
            ASKING_WORKSPACE.set(workspace)
            assert (await transport.exchange(call_of(server), most_bytes=MOST)).body == b"{}"
        assert server.connections == 2
        ASKING_WORKSPACE.set("hostile")
        assert (await transport.exchange(call_of(server), most_bytes=MOST)).body == b"[]"
        assert server.connections == 2


async def test_a_response_may_end_with_its_connection(transport: HttpTransport) -> None:
    async with raw_server(answering(b"HTTP/1.1 200 OK\r\n\r\n{}")) as server:
        assert (await transport.exchange(call_of(server), most_bytes=MOST)).body == b"{}"


async def test_the_response_to_head_has_no_body(transport: HttpTransport) -> None:
    async with raw_server(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")) as server:
        call = call_of(server, "HEAD", None)
        reply = await transport.exchange(call, most_bytes=MOST)
    assert (reply.body, reply.headers["content-length"]) == (b"", "5")


async def test_no_redirect_is_followed_and_nothing_is_unpacked(transport: HttpTransport) -> None:
    head = b"HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Encoding: gzip\r\n"
    async with raw_server(saying(head + b"Content-Length: 3\r\n\r\nabc")) as server:
        reply = await transport.exchange(call_of(server), most_bytes=MOST)
    assert (reply.status, reply.body) == (302, b"abc")
    assert (reply.headers["location"], reply.headers["content-encoding"]) == ("/other", "gzip")
    assert server.requests == 1


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "payload",
    [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", b"no HTTP at all\r\n\r\n"],
    ids=["none", "half", "nonsense"],
)
async def test_half_an_exchange_is_broken_and_never_made_again(
    transport: HttpTransport, payload: bytes, method: str
) -> None:
    async with raw_server(answering(payload)) as server:
        call = call_of(server, method, None if method == "GET" else b"{}")
        with pytest.raises(BrokenExchangeError):
            await transport.exchange(call, most_bytes=MOST)
    assert server.requests == 1


async def test_a_kept_connection_that_ends_upon_a_request_is_broken_and_not_replaced(
    transport: HttpTransport,
) -> None:
    answers = [OK, b""]

    async def talk(_: StreamReader, writer: StreamWriter) -> None:
        said = answers.pop(0)
        writer.write(said)
        if not said:
            writer.close()

    async with raw_server(talk) as server:
        await transport.exchange(call_of(server, "GET", None), most_bytes=MOST)
        with pytest.raises(BrokenExchangeError):
            await transport.exchange(call_of(server, "GET", None), most_bytes=MOST)
    assert server.requests == 2


async def test_a_response_that_is_too_large_is_refused(transport: HttpTransport) -> None:
    payload = b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000
    async with raw_server(saying(payload)) as server:
        with pytest.raises(GatewayError, match="larger than 100000 bytes"):
            await transport.exchange(call_of(server), most_bytes=100_000)


@pytest.mark.parametrize("told", [400_000, None])
async def test_a_large_response_is_read_as_far_as_there_is_room(
    transport: HttpTransport, told: int | None
) -> None:
    loop = asyncio.get_running_loop()
    asked: asyncio.Queue[tuple[int, asyncio.Future[None]]] = asyncio.Queue()

    def take(size_bytes: int) -> "asyncio.Future[None]":
        waits = loop.create_future()
        asked.put_nowait((size_bytes, waits))
        return waits

    length = b"Content-Length: %d\r\n" % told if told else b""
    talk = answering(b"HTTP/1.1 200 OK\r\n" + length + b"\r\n" + b"x" * 400_000)
    async with raw_server(talk) as server:
        reading = asyncio.ensure_future(
            transport.exchange(call_of(server), most_bytes=MOST, room=take)
        )
        sizes: list[int] = []
        while not sizes or sizes[-1] < 400_000:
            size, waits = await asyncio.wait_for(asked.get(), 60.0)
            sizes.append(size)
            assert not reading.done()
            waits.set_result(None)
        assert len((await reading).body) == 400_000
    assert sizes == sorted(set(sizes))
    assert 2 * SMALL_BYTES < sizes[0] < 400_000 or len(sizes) == 1
    assert told is None or sizes[-1] == told


async def test_where_nobody_listens_nothing_was_sent(transport: HttpTransport) -> None:
    call = HttpCall("POST", f"http://127.0.0.1:{closed_port()}/f", (), b"{}")
    with pytest.raises(NotConnectedError, match=r"cannot connect to 127\.0\.0\.1"):
        await transport.exchange(call, most_bytes=MOST)


async def test_a_name_without_an_address_is_not_connected(transport: HttpTransport) -> None:
    call = HttpCall("POST", "http://nowhere.invalid/f", (), b"{}")
    with pytest.raises(NotConnectedError, match=r"cannot connect to nowhere\.invalid:80"):
        await transport.exchange(call, most_bytes=MOST)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_the_egress_policy_is_asked_about_every_address(
    kind: Literal["own", "aiohttp"], host: str
) -> None:
    policy = egress_rules(allow=(), deny=("127.0.0.0/8", "::1"), private=True)
    transport = transport_of(HttpSettings(transport=kind, egress=policy))
    async with raw_server(saying(OK)) as server:
        call = HttpCall("POST", server.url.replace("127.0.0.1", host), (), b"{}")
        with pytest.raises(GatewayError):
            await transport.exchange(call, most_bytes=MOST)
    await transport.close()
    assert server.connections == 0


@pytest.mark.parametrize("name", ["X-Bad\r\nX", "X"])
async def test_nothing_in_the_head_ends_a_line(transport: HttpTransport, name: str) -> None:
    value = "good" if name != "X" else "bad\r\nHost: other"
    async with raw_server(saying(OK)) as server:
        call = HttpCall("POST", server.url, ((name, value),), b"{}")
        with pytest.raises(GatewayError, match="line break"):
            await transport.exchange(call, most_bytes=MOST)
    assert server.connections == 0


async def test_an_exchange_that_is_given_up_leaves_nothing_to_wait_for(
    transport: HttpTransport,
) -> None:
    async def hang(_: StreamReader, __: StreamWriter) -> None:
        await asyncio.Event().wait()

    async with raw_server(hang) as server:
        exchange = asyncio.ensure_future(transport.exchange(call_of(server), most_bytes=MOST))
        await server.arrived.wait()
        exchange.cancel()
        with pytest.raises(asyncio.CancelledError):
            await exchange
        await transport.close()


@pytest.mark.parametrize("part", DRIPS)
async def test_an_answer_that_comes_byte_by_byte_ends_with_its_exchange(
    transport: HttpTransport, part: str
) -> None:
    dripping = Dripping(*DRIPS[part], every_s=0.05)
    async with raw_server(dripping.talk) as server:
        exchange = asyncio.ensure_future(transport.exchange(call_of(server), most_bytes=2 * MOST))
        await server.arrived.wait()
        done, _ = await asyncio.wait({exchange}, timeout=0.5)
        assert not done
        exchange.cancel()
        with pytest.raises(asyncio.CancelledError):
            await exchange
        await asyncio.wait_for(dripping.ended.wait(), PATIENT_S)


async def test_interim_answers_without_an_end_are_not_read_on(transport: HttpTransport) -> None:
    endless = Endless(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1_000)
    async with raw_server(endless.talk) as server:
        with pytest.raises(BrokenExchangeError):
            await asyncio.wait_for(transport.exchange(call_of(server), most_bytes=MOST), PATIENT_S)
        await asyncio.wait_for(endless.ended.wait(), PATIENT_S)
    assert endless.sent_bytes < BUFFERS_BYTES


async def test_a_few_interim_answers_are_passed_over(transport: HttpTransport) -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 100
    async with raw_server(saying(interim + OK)) as server:
        reply = await transport.exchange(call_of(server), most_bytes=MOST)
    assert (reply.status, reply.body) == (200, b"{}")
