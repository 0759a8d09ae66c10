"""Where an answer ends: HAProxy and the API agree, so that a connection serves the next request.

HAProxy keeps its connections to the API, and gives each to whoever comes next. What one of them
takes for complete, the other must not go on with.
"""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig
from ray.serve.config import HTTPOptions
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from rillflow.private_apis.haproxy.config import guarded, limits_of
from rillflow.private_apis.haproxy.start import haproxy_binary
from rillflow.private_apis.uvicorn_server.deadlines import bound_connections
from serve.listening import free_port
from serve.routes.console_api.streams import SILENCE_S
from tests.api.definition_texts import SUSPENDED
from tests.api.serving import Api, served
from tests.loopback import opened

LONG_S: Final = 60.0
BEFORE_ITS_FIRST_COMMENT_S: Final = SILENCE_S * 2 / 3
OTHERS: Final = 2
"""So many come after each request, of whom one gets its connection."""
LIMITS: Final = limits_of(1000, 10, 60, 500)
LIST: Final = "/flow/console/v1/executions.stream"
ONE: Final = "/flow/console/v1/execution.stream?execution_id={execution}"
ARTIFACT: Final = "/flow/artifacts/{artifact}"
UNKNOWN: Final = "/flow/console/v1/execution.json?execution_id="
NOBODYS: Final = "shop:order_c_8f0f9c00-0000-11f0-8000-{number:012}"
HOST: Final = "Host: localhost\r\n"
WEBSOCKET: Final = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
SSE: Final = {"Accept": "text/event-stream"}
ACCEPTS: Final = "Accept: text/event-stream\r\n"
LOT: Final = 100_000 * "x"
"""More than HAProxy waits for of a body."""
ODD: Final = {
    "a handshake": f"{WEBSOCKET}\r\n",
    "a handshake with a body": f"{WEBSOCKET}Content-Length: 3\r\n\r\nabc",
    "another protocol": "Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    "another protocol, and a body": (
        "Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc"
    ),
    "the end of the connection": "Connection: close, Upgrade\r\nUpgrade: other\r\n\r\n",
    "a body that it waits to send": "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n",
    "a body that does not end": f"Content-Length: 1000000\r\n\r\n{LOT}",
    "a chunk that does not end": f"Transfer-Encoding: chunked\r\n\r\nF4240\r\n{LOT}",
    "what is no chunk": f"Transfer-Encoding: chunked\r\n\r\n{len(LOT):x}\r\n{LOT}\r\nzz\r\n",
    "a trailer": "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n",
    "two lengths": (
        "Transfer-Encoding: chunked\r\nContent-Length: 90\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    ),
    "what it knows": 'If-None-Match: "{artifact}"\r\n\r\n',
    "a part": "Range: bytes=0-3\r\n\r\n",
}
"""What requests have behind their first line and ``Host``."""
METHODS: Final = ("GET", "HEAD", "POST", "OPTIONS", "TRACE", "OTHER")
FILM: Final = bytes(8_000_000)


@asynccontextmanager
async def fronted(folder: Path) -> AsyncIterator[tuple[Api, int]]:
    """Serve the API, and HAProxy before it as Ray Serve starts it; yields its port as well."""
    async with served(data_dir=folder / "data") as api:
        port = free_port()
        path = _written(folder, port, api.stack.settings.port)
        with subprocess.Popen([haproxy_binary(), "-db", "-f", str(path)]) as front:  # noqa: ASYNC220, S603 - ours
            try:
                yield api, port
            finally:
                front.kill()


def _written(folder: Path, port: int, api_port: int) -> Path:
    path = folder / "haproxy.cfg"
    config = HAProxyConfig(
        socket_path=str(folder / "admin.sock"),
        server_state_base=str(folder),
        server_state_file=str(folder / "server-state"),
        metrics_enabled=False,
        nbthread=1,
        http_options=HTTPOptions(host="127.0.0.1", port=port, keep_alive_timeout_s=75),
        has_received_routes=True,
        is_head=True,
        log_target="/dev/null",
    )
    backend = BackendConfig(
        name="api",
        app_name="rillflow",
        path_prefix="/",
        servers=[ServerConfig(name="one", host="127.0.0.1", port=api_port)],
        http_health_check_path="/healthz",
    )
    HAProxyApi(config, {"api": backend}, str(path))._generate_config_file_internal()
    path.write_text(guarded(path.read_text("utf-8"), "127.0.0.1", LIMITS), "utf-8")
    return path


@asynccontextmanager
async def connected(
    port: int, sent: str
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connect, once somebody listens, and send."""
    async with asyncio.timeout(LONG_S):
        reader, writer = await opened(port)
    try:
        writer.write(sent.encode())
        yield reader, writer
    finally:
        writer.close()


async def others_are_answered(port: int, first: int) -> None:
    """Ask on connections of their own, for what shows whose answer each one gets."""
    for number in range(first, first + OTHERS):
        execution = NOBODYS.format(number=number)
        request = (
            f"GET {UNKNOWN}{execution} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        async with connected(port, request) as (reader, _), asyncio.timeout(LONG_S):
            answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 404 "), answer[:200]
        assert execution.encode() in answer


async def parts_of(api: Api) -> dict[str, str]:
    """Start an execution that waits, and store an artifact for it; return what paths name."""
    execution = await api.submit(await api.add(SUSPENDED))
    stored = await api.post("/flow/artifacts", FILM, execution_id=execution, task_name="wait")
    return {"execution": execution, "artifact": stored["rillflow_artifact"]}


@pytest.mark.parametrize("path", [LIST, ONE, ARTIFACT])
async def test_who_comes_after_a_head_is_answered(path: str, tmp_path: Path) -> None:
    async with fronted(tmp_path) as (api, port):
        named = path.format(**await parts_of(api))
        for number in range(3):
            head = f"HEAD {named} HTTP/1.1\r\n{HOST}{ACCEPTS}\r\n"
            async with connected(port, head) as (reader, _):
                assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
                await others_are_answered(port, OTHERS * number)


@pytest.fixture
def bound() -> Iterator[None]:
    """uvicorn as replicas have it, for one test."""
    before = HttpToolsProtocol.connection_made, HttpToolsProtocol._should_upgrade
    bound_connections()
    yield
    HttpToolsProtocol.connection_made, HttpToolsProtocol._should_upgrade = before  # type: ignore[method-assign] # as it was


@pytest.mark.usefixtures("bound")
@pytest.mark.parametrize("path", [LIST, ARTIFACT, "/healthz", "/nothing"])
async def test_who_comes_after_an_odd_request_is_answered(path: str, tmp_path: Path) -> None:
    """It is begun, and then its sender stays, or leaves."""
    async with fronted(tmp_path) as (api, port), AsyncExitStack() as stay:
        named = await parts_of(api)
        lines = [f"{method} {path} HTTP/1.1" for method in METHODS]
        cases = [(line, name, leaves) for line in lines for name in ODD for leaves in (0, 1)]
        cases += [(f"{line[:-1]}0", "a part", 0) for line in lines]
        for number, (line, name, leaves) in enumerate(cases):
            rest = ODD[name].replace("{artifact}", named["artifact"])
            request = f"{line.format(**named)}\r\n{HOST}{ACCEPTS}{rest}"
            async with AsyncExitStack() as leave:
                reader, _ = await (leave if leaves else stay).enter_async_context(
                    connected(port, request)
                )
                async with asyncio.timeout(LONG_S):
                    assert (await reader.readline()).startswith(b"HTTP/1.1 "), (line, name)
            await others_are_answered(port, OTHERS * number)


async def test_a_head_of_a_stream_ends_the_stream() -> None:
    async with served() as api:
        for path in (LIST, ONE):
            asked = await api.client.head(path.format(**await parts_of(api)), headers=SSE)
            assert (asked.status_code, asked.content) == (200, b"")
            async with asyncio.timeout(BEFORE_ITS_FIRST_COMMENT_S):
                while len(api.stack.changes):
                    await api.get("/healthz")


async def test_a_head_of_an_artifact_reads_no_more_than_its_first_piece(tmp_path: Path) -> None:
    async with served(data_dir=tmp_path) as api:
        path = ARTIFACT.format(**await parts_of(api))
        read = []
        for method in ("HEAD", "GET"):
            before = _read_bytes()
            answer = await api.client.request(method, path)
            assert answer.status_code == 200
            assert answer.headers["content-length"] == str(len(FILM))
            read.append(_read_bytes() - before)
    of_head, of_whole = read
    assert of_head < len(FILM) / 4 < len(FILM) <= of_whole


def _read_bytes() -> int:
    """Return how much this process has read of files."""
    lines = Path("/proc/self/io").read_text("ascii").splitlines()
    counts = dict(line.split(": ") for line in lines)
    return int(counts["rchar"])
