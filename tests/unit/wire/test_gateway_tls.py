"""A host is vouched for by its own CA, and gets its own client certificate, by either transport."""

import asyncio
import ssl
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from rillflow.gateways.outbound.settings import TlsFiles
from tests.certificates import Pair, certificate
from tests.loopback import FAILS, call

TRANSPORTS = pytest.mark.parametrize("transport", ["own", "aiohttp"])


@pytest.fixture(name="ca")
def _ca(tmp_path: Path) -> Pair:
    return certificate(tmp_path, "ca")


@asynccontextmanager
async def tls_server(pair: Pair, clients: Pair | None = None) -> AsyncIterator[int]:
    """A server with a certificate, which asks clients for theirs if it is told who issues them."""

    async def talk(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        writer.close()

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.certificate, pair.key)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients.certificate)
    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def error_of(port: int, transport: str, **by_host: TlsFiles) -> str | None:
    settings: dict[str, Any] = {
        "transport": transport,
        "tls_by_host": {name.replace("PORT", str(port)): each for name, each in by_host.items()},
    }
    answer = await call(f"https://localhost:{port}/work", settings, request_type="GET")
    return answer.error


@TRANSPORTS
async def test_a_ca_is_trusted_for_its_host_and_port(
    tmp_path: Path, ca: Pair, transport: str
) -> None:
    files = TlsFiles(ca=str(ca.certificate))
    async with tls_server(certificate(tmp_path, "leaf", issuer=ca)) as port:
        assert await error_of(port, transport, localhost=files) is None
        assert await error_of(port, transport, **{"localhost:PORT": files}) is None
        for name in ("127.0.0.1", "localhost:1", "other"):
            refusal = await error_of(port, transport, **{name: files})
            assert refusal is not None
            assert "CERTIFICATE_VERIFY_FAILED" in refusal


@TRANSPORTS
async def test_nobody_else_is_trusted_for_a_host_with_a_ca(
    tmp_path: Path, ca: Pair, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = certificate(tmp_path, "other")
    monkeypatch.setenv("SSL_CERT_FILE", str(other.certificate))
    async with tls_server(other) as port:
        assert await error_of(port, transport) is None
        refusal = await error_of(port, transport, localhost=TlsFiles(ca=str(ca.certificate)))
    assert refusal is not None
    assert "CERTIFICATE_VERIFY_FAILED" in refusal


@TRANSPORTS
async def test_a_server_that_asks_for_a_certificate_gets_that_of_its_host(
    tmp_path: Path, ca: Pair, transport: str
) -> None:
    client = certificate(tmp_path, "client", issuer=ca)
    with_client = TlsFiles(str(ca.certificate), str(client.certificate), str(client.key))
    async with tls_server(certificate(tmp_path, "leaf", issuer=ca), clients=ca) as port:
        assert await error_of(port, transport, localhost=with_client) is None
        assert await error_of(port, transport, localhost=TlsFiles(str(ca.certificate)))


@TRANSPORTS
async def test_a_file_that_has_gone_fails_the_call_and_nothing_else(
    tmp_path: Path, ca: Pair, transport: str
) -> None:
    gone = TlsFiles(ca=str(tmp_path / "gone"))
    async with tls_server(ca) as port:
        error = await error_of(port, transport, localhost=gone)
    assert error is not None
    assert error.startswith(FAILS)
    assert "No such file or directory" in error
