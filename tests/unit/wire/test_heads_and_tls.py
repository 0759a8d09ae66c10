"""The head of a request, the look-up of names, and TLS."""

import asyncio
import ssl
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rillflow.errors import GatewayError
from rillflow.gateways.http_client.request_head import request_head
from rillflow.gateways.outbound.exchange import HttpCall
from rillflow.jsontypes import decode_json, encode_json
from tests.loopback import (
    FAILS,
    attempt,
    call,
    gateway,
    raw_server,
)
from tests.unit.wire.talks import OK, PATIENT, open_wires, saying

CERTIFICATE = Path(__file__).parent / "loopback.pem"


# --- what is sent -------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("http://h/a?b", (("X", "1\r\nY: 2"),)),
        ("http://h/a?b", (("X", "1\nY: 2"),)),
        ("http://h/a?b", (("X\r\nY", "1"),)),
        ("http://h/a?b", (("X", "1\0"),)),
        ("http://h/a?b\r\nX: 1", ()),
        ("http://h/a HTTP/1.1", ()),
    ],
)
def test_nothing_ends_a_line_of_the_head(url: str, headers: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(GatewayError, match="line break"):
        request_head(HttpCall("POST", url, headers, b"{}"), "http://h")


@pytest.mark.parametrize(
    ("origin", "headers", "lines"),
    [
        ("http://h:80", (), ["Host: h"]),
        ("http://h:81", (), ["Host: h:81"]),
        ("https://h:443", (), ["Host: h"]),
        ("http://[::1]:81", (), ["Host: [::1]:81"]),
        ("http://h", (("host", "own"),), ["host: own"]),
    ],
)
def test_the_head_names_the_host(
    origin: str, headers: tuple[tuple[str, str], ...], lines: list[str]
) -> None:
    head = request_head(HttpCall("GET", f"{origin}/a?b=1", headers), origin)
    assert head.decode().split("\r\n") == ["GET /a?b=1 HTTP/1.1", *lines, "", ""]


@pytest.mark.parametrize(
    ("user_info", "headers", "lines"),
    [
        ("u:p", (), ["Host: h", "Authorization: Basic dTpw"]),
        ("u%3A:%70", (), ["Host: h", "Authorization: Basic dTo6cA=="]),
        ("u", (), ["Host: h", "Authorization: Basic dTo="]),
        ("u:p", (("Authorization", "x"),), ["Authorization: x", "Host: h"]),
    ],
)
def test_the_user_info_of_an_address_becomes_credentials(
    user_info: str, headers: tuple[tuple[str, str], ...], lines: list[str]
) -> None:
    call = HttpCall("GET", "http://h/a", headers, user_info=user_info)
    assert request_head(call, call.origin).decode().split("\r\n")[1:-2] == lines


# --- names and TLS ------------------------------------------------------------


class CountingRules:
    def __init__(self) -> None:
        self.asked: list[str] = []

    def check(self, host: str, ip: str) -> None:
        self.asked.append(f"{host} {ip}")


async def test_calls_share_the_look_up_of_a_name() -> None:
    rules = CountingRules()
    talk = saying(*[OK] * 6)
    async with raw_server(talk) as server, gateway(**PATIENT, egress=rules) as opened:
        url = f"http://localhost:{server.port}/work"
        requests = [attempt(url, attempt=number) for number in range(6)]
        answers = await asyncio.gather(*map(opened.call, requests))
    assert [answer.body for answer in answers] == [b"{}"] * 6
    assert len(rules.asked) == len(set(rules.asked))


@asynccontextmanager
async def tls_server() -> AsyncIterator[int]:
    async def talk(reader: StreamReader, writer: StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        protocol = writer.get_extra_info("ssl_object").selected_alpn_protocol()
        body = encode_json({"alpn": protocol, "get": head.startswith(b"GET ")})
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        assert not await reader.read()
        writer.close()

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE)
    context.set_alpn_protocols(["http/1.1"])
    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_https_is_spoken_with_servers_that_can_be_trusted(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    async with tls_server() as port, gateway(**PATIENT) as opened:
        answer = await opened.call(attempt(f"https://{host}:{port}/work", request_type="GET"))
        assert answer.error is None
        assert decode_json(answer.body or b"") == {"alpn": "http/1.1", "get": True}
        await opened.close()
        assert open_wires(opened) == 0


async def test_a_certificate_that_nobody_vouches_for_is_refused() -> None:
    async with tls_server() as port:
        answer = await call(f"https://127.0.0.1:{port}/work", PATIENT)
    assert answer.error is not None
    assert answer.error.startswith(f"{FAILS}cannot connect to 127.0.0.1:{port}: ")
    assert "CERTIFICATE_VERIFY_FAILED" in answer.error
