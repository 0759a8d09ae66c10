"""Clients and functions trust the certificate that SSL_CERT_FILE names, on this machine too."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from rillflow.artifacts.references import ArtifactReference
from rillflow.client.clients import AsyncClient, Client
from rillflow.client.http_transport.transport import HttpTransport
from rillflow.errors import ArtifactLostError, UnreachableError
from rillflow.functions.artifacts import ServerArtifacts
from rillflow.functions.deliveries import Deliveries
from serve.stack.standalone import is_ready
from tests.certificates import Pair, certificate


@pytest.fixture(name="pair")
def _pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pair:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    return certificate(tmp_path)


@asynccontextmanager
async def server_with(pair: Pair, asked: list[str]) -> AsyncIterator[str]:
    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.json_response({"triggers": []})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        yield f"https://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def triggers_of(url: str, trusted: Path | None = None) -> int:
    with Client(transport=HttpTransport(url, 20.0, certificate=trusted)) as client:
        return len(list(client.triggers.all()))


async def test_clients_trust_what_the_environment_names(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    async with server_with(pair, asked) as url:
        monkeypatch.setenv("SSL_CERT_FILE", str(pair.certificate))
        assert await asyncio.to_thread(triggers_of, url) == 0
        async with AsyncClient(url) as client:
            assert len(await client.triggers.all()) == 0
    assert asked == ["/flow/triggers/list.json"] * 2


async def test_without_it_the_refusal_tells_how_to_trust(pair: Pair) -> None:
    asked: list[str] = []
    async with server_with(pair, asked) as url:
        with pytest.raises(UnreachableError, match="certificate verify failed") as refused:
            await asyncio.to_thread(triggers_of, url)
    assert refused.value.hint.startswith("SSL_CERT_FILE names the file")
    assert asked == []


async def test_who_runs_a_server_knows_it_by_its_certificate_alone(
    pair: Pair, tmp_path: Path
) -> None:
    other = certificate(tmp_path / "other")
    async with server_with(pair, []) as url:
        assert await asyncio.to_thread(triggers_of, url, pair.certificate) == 0
        with pytest.raises(UnreachableError, match="certificate verify failed"):
            await asyncio.to_thread(triggers_of, url, other.certificate)


def test_a_file_that_cannot_be_read_is_told(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "gone"))
    with pytest.raises(UnreachableError, match="certificates to trust cannot be read") as refused:
        Client("https://127.0.0.1:1")
    assert "SSL_CERT_FILE" in refused.value.hint
    assert pair.certificate.exists()


async def test_functions_report_to_a_server_that_the_environment_has_them_trust(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setenv("SSL_CERT_FILE", str(pair.certificate))
    async with server_with(pair, asked) as url:
        deliveries = Deliveries(5.0)
        try:
            await deliveries.post_progress(f"{url}/progress", 0.5, "half")
        finally:
            await deliveries.close()
        artifacts = ServerArtifacts(f"{url}/callback", lambda _: None, 1_000)
        sent = ArtifactReference("0" * 64, 3, "text/plain", "note")
        with pytest.raises(ArtifactLostError):  # what the server has is another one
            await asyncio.to_thread(artifacts.open, sent, f"{url}/artifact")
    assert asked == ["/progress", "/artifact"]


async def test_a_stack_that_starts_is_asked_whatever_the_name_of_its_certificate(
    pair: Pair,
) -> None:
    asked: list[str] = []
    async with server_with(pair, asked) as url:
        port = int(url.rpartition(":")[2])
        assert await asyncio.to_thread(is_ready, "0.0.0.0", port, is_tls=True)
        assert not await asyncio.to_thread(is_ready, "0.0.0.0", port)
    assert asked == ["/readyz"]
