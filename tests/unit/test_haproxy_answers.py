"""HAProxy waits for an answer as long as it may take, and no longer."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from rillflow.private_apis.haproxy.config import answered, limited, limits_of
from rillflow.private_apis.haproxy.start import haproxy_binary
from serve.listening import free_port
from tests.loopback import opened
from tests.machine_speed import tries

LONG_S: Final = 60.0
SHORT: Final = "1s"
SILENT: Final = "GET /silent HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
BODY_BYTES: Final = 200_000
PART_BYTES: Final = BODY_BYTES // 4
"""More of a body than HAProxy waits for before it asks the API."""
FRONT: Final = """\
global
    tune.bufsize 32768
    nbthread 1
defaults
    mode http
    option abortonclose
    timeout connect 5s
frontend http_frontend
    bind 127.0.0.1:{port}
    default_backend api
backend api
    http-reuse always
    server one 127.0.0.1:{api_port}
"""
LIMITS: Final = limits_of(1000, 10, 60, 500)


@asynccontextmanager
async def fronted(folder: Path, limit: str) -> AsyncIterator[int]:
    """Serve an API behind HAProxy that has little time where it has this limit; yield its port."""
    under_way: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(_api(reader, writer))
        under_way.add(task)
        await task

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port, (_, api_port) = free_port(), server.sockets[0].getsockname()
    text = answered(limited(FRONT.format(port=port, api_port=api_port), LIMITS))
    assert text.count(f"timeout server {limit}") == 1
    path = folder / "haproxy.cfg"
    path.write_text(text.replace(f"server {limit}", f"server {SHORT}"), "utf-8")
    with subprocess.Popen([haproxy_binary(), "-db", "-f", str(path)]) as front:  # noqa: ASYNC220, S603 - ours
        try:
            yield port
        finally:
            front.kill()
            server.close()
            if under_way:
                await asyncio.wait(under_way)


async def _api(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer with a body when all of one has come; begin a stream; do not answer anything else."""
    with suppress(asyncio.IncompleteReadError):
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"POST"):
            await reader.readexactly(BODY_BYTES)
            length = b"Content-Length: %d\r\n\r\n" % BODY_BYTES
            writer.write(b"HTTP/1.1 200 OK\r\n" + length + bytes(BODY_BYTES))
        elif b".stream " in head:
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        await reader.read()  # until HAProxy goes
    writer.close()


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with asyncio.timeout(LONG_S):
        reader, writer = await opened(port)
        try:
            yield reader, writer
        finally:
            writer.close()


async def answer_of(port: int, request: str) -> bytes:
    async with connected(port) as (reader, writer):
        writer.write(request.encode())
        return await reader.read()


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        ("/silent", "690s"),
        ("/readyz", "30s"),
        ("/flow/console/v1/executions.stream", "60s"),
    ],
)
async def test_an_api_that_falls_silent_is_given_up(path: str, limit: str, tmp_path: Path) -> None:
    async with fronted(tmp_path, limit) as port:
        answer = await answer_of(port, SILENT.replace("/silent", path))
    cut_off = answer.startswith(b"HTTP/1.1 200 ") and not answer.endswith(b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 504 ") or (cut_off and path.endswith(".stream"))


async def test_who_sends_or_reads_slowly_is_not_given_up(tmp_path: Path) -> None:
    """The API itself must answer in time, which it does not where others use the machine."""
    for _ in tries():
        async with fronted(tmp_path, "690s") as port:
            answer = await _slowly(port)
        if answer.startswith(b"HTTP/1.1 200 "):
            assert answer.endswith(bytes(BODY_BYTES))
            return
    raise AssertionError(answer[:200])


async def _slowly(port: int) -> bytes:
    """Send and read with pauses in which others are given up; return the answer."""
    async with connected(port) as (reader, writer):
        writer.write(b"POST /slow HTTP/1.1\r\nHost: localhost\r\n")
        writer.write(b"Content-Length: %d\r\nConnection: close\r\n\r\n" % BODY_BYTES)
        for _ in range(BODY_BYTES // PART_BYTES):
            assert (await answer_of(port, SILENT)).startswith(b"HTTP/1.1 504 ")
            writer.write(bytes(PART_BYTES))
            await writer.drain()
        assert (await answer_of(port, SILENT)).startswith(b"HTTP/1.1 504 ")
        return await reader.read()
