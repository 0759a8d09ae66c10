"""The HTTP gateway answers for every attempt, whatever the other side does (spec 4.4, 9.2)."""

import asyncio
import socket
from functools import partial
from typing import Any, Final

import pytest
from aiohttp import web

from rillflow.jsontypes import encode_json
from tests.api.turns_of_loop import Loop
from tests.loopback import (
    FAILS,
    Talk,
    answering,
    attempt,
    call,
    closed_port,
    gateway,
    raw_server,
    web_server,
)


async def hang(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    loop = asyncio.get_running_loop()
    while True:
        writer.write(b".")
        await writer.drain()
        due = loop.create_future()
        loop.call_later(0.02, due.cancel)
        await asyncio.wait({due})


async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()


ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"body": {}},
        {"header": {"Content-Type": "application/x-www-form-urlencoded"}},
    ],
    ids=["json", "body", "form"],
)
async def test_the_body_of_a_request_does_not_hold_the_loop(fields: dict[str, Any]) -> None:
    entries = {"entries": [{"a": None}] * 149_000}
    inner = {"body": {**entries}} if "body" in fields else entries
    given = encode_json({**fields, **inner})
    async with raw_server(answering(ANSWER)) as server, gateway() as opened:
        asked = attempt(server.url, input=given)
        async with Loop.measured() as loop:
            await loop.of("the call", partial(opened.call, asked))
        loop.assert_free()
        assert (await opened.call(asked)).error is None


# --- servers that misbehave ---------------------------------------------------


@pytest.mark.parametrize("talk", [hang, drip], ids=["hanging", "dripping"])
async def test_a_server_that_does_not_finish_fails_the_attempt_in_time(talk: Talk) -> None:
    async with raw_server(talk) as server:
        answer = await call(server.url, {"call_timeout_s": 1.5})
    shown = f"no answer from POST {server.url} within 1.5 s"
    assert answer.error == f"{FAILS}{shown}"
    assert answer.http_status is None
    assert server.requests == 1


async def test_the_tasks_own_time_limit_counts_before_the_settings() -> None:
    """It is also its timer's; whichever is first, the task says the same."""
    async with raw_server(hang) as server:
        answer = await call(server.url, {"call_timeout_s": 60.0}, timeout_s=0.05)
    assert answer.error == "timeout"


async def test_no_call_lasts_longer_than_the_longest_whatever_its_task_says() -> None:
    settings = {"call_timeout_s": 0.01, "longest_call_s": 0.05}
    async with raw_server(hang) as server:
        answer = await call(server.url, settings, timeout_s=86_400)
    assert answer.error == f"{FAILS}no answer from POST {server.url} within 0.05 s"


@pytest.mark.parametrize(
    ("talk", "reason"),
    [
        (answering(b"\x16\x03\x01 no such thing\r\n\r\n"), "the answer is not HTTP"),
        (answering(b"HTTP/1.1 two hundred\r\n\r\n"), "the answer is not HTTP"),
        (answering(b""), "the connection was closed before an answer"),
        (
            answering(b"HTTP/1.1 200 OK\r\nContent-Len"),
            "the connection was closed before an answer",
        ),
        (answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"), "the answer broke off"),
        (
            answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
            "the answer ",
        ),
        (
            answering(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nnot gzip"),
            "the answer ",
        ),
        (reset, "the connection was reset"),
    ],
)
@pytest.mark.parametrize("verb", ["POST", "GET"])
async def test_a_broken_exchange_fails_the_attempt_and_is_not_repeated(
    talk: Talk, reason: str, verb: str
) -> None:
    async with raw_server(talk) as server:
        answer = await call(server.url, request_type=verb)
    assert answer.error is not None
    assert answer.error.startswith(f"{FAILS}{reason}")
    assert (server.connections, server.requests) == (1, 1)


async def test_a_request_on_a_kept_connection_that_breaks_is_not_repeated() -> None:
    answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", b""]

    async def once(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        payload = answers.pop(0)
        writer.write(payload)
        if not payload:
            writer.close()

    async with raw_server(once) as server, gateway() as opened:
        first = await opened.call(attempt(server.url, request_type="GET"))
        second = await opened.call(attempt(server.url, request_type="GET"))
    assert first.body == b"{}"
    assert second.error is not None
    assert (server.connections, server.requests) == (1, 2)


async def test_endless_headers_fail_the_attempt() -> None:
    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000)
        await writer.drain()

    async with raw_server(flood) as server:
        answer = await call(server.url)
    assert answer.error is not None
    assert answer.error.startswith(FAILS)


# --- connections --------------------------------------------------------------


class CountingRules:
    """Allows everything, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def check(self, host: str, ip: str) -> None:
        self.asked.append((host, ip))


async def test_a_refused_connection_is_tried_again_once_and_then_fails() -> None:
    port = closed_port()
    answer = await call(f"http://127.0.0.1:{port}/work")
    assert answer.error is not None
    assert answer.error.startswith(f"{FAILS}cannot connect to 127.0.0.1:{port}")


async def test_a_connection_that_opens_at_the_second_try_makes_the_call() -> None:
    async with raw_server(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")) as server:
        failures = [OSError("not yet")]

        class LateRules(CountingRules):
            def check(self, host: str, ip: str) -> None:
                super().check(host, ip)
                if failures:
                    raise failures.pop()

        rules = LateRules()
        url = f"http://localhost:{server.port}/work"
        answer = await call(url, {"egress": rules})
    assert answer.body == b"{}"
    assert server.requests == 1


async def test_a_host_that_does_not_exist_fails_the_attempt() -> None:
    answer = await call("http://nowhere.invalid/work")
    assert answer.error is not None
    assert answer.error.startswith(f"{FAILS}cannot connect to nowhere.invalid:80")


async def test_connections_are_kept_and_used_again() -> None:
    async def fine(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    async with raw_server(fine) as server, gateway() as opened:
        for number in range(5):
            answer = await opened.call(attempt(server.url, attempt=number))
            assert answer.body == b"{}"
    assert (server.connections, server.requests) == (1, 5)


async def test_calls_over_the_limit_of_a_host_wait_without_losing_their_time() -> None:
    most, under_way = 0, 0
    gate = asyncio.Event()

    async def busy(_: web.Request) -> web.Response:
        nonlocal most, under_way
        under_way += 1
        most = max(most, under_way)
        if under_way == 2:
            asyncio.get_running_loop().call_later(0.05, gate.set)
        await gate.wait()
        under_way -= 1
        return web.Response(text="{}")

    async with web_server(busy=busy) as url, gateway(limit_per_host=2) as opened:
        calls = [opened.call(attempt(f"{url}/busy", attempt=number)) for number in range(6)]
        answers = await asyncio.gather(*calls)
    assert [answer.error for answer in answers] == [None] * 6
    assert most == 2


async def test_closing_ends_calls_under_way_and_waiting_with_an_error() -> None:
    async with raw_server(hang) as server, gateway(limit_per_host=1, call_timeout_s=60.0) as opened:
        calls = [
            asyncio.create_task(opened.call(attempt(server.url, attempt=number)))
            for number in range(2)
        ]
        await server.arrived.wait()
        await opened.close()
        answers = [*await asyncio.gather(*calls), await opened.call(attempt(server.url))]
    assert [answer.error for answer in answers] == [f"{FAILS}the gateway is closed"] * 3


async def test_a_gateway_that_was_never_used_closes_quietly() -> None:
    async with gateway():
        pass


# --- addresses that cannot be called ------------------------------------------


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("function://x", "scheme protocol:function unsupported"),
        ("http://h/a b", "originalUrl value:http://h/a b not http format"),
    ],
)
async def test_a_name_that_cannot_be_called_is_an_answer(name: str, error: str) -> None:
    assert (await call(name)).error == error
