"""No answer of a collector of traces fills the memory of a process, or holds its exporter on."""

import asyncio
import gzip
import os
import tracemalloc
from collections.abc import Callable
from typing import Any, Final

import grpc
import pytest
import requests
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as wire
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as service

from rillflow.telemetry.collector import otlp_export
from rillflow.telemetry.collector_session import MOST_ANSWER_BYTES, bounded_session
from rillflow.telemetry.span_queue import Export, TracedSpans
from rillflow.telemetry.spans import Span
from tests.hostile_answers import (
    BUFFERS_BYTES,
    CHUNKED,
    DRIPS,
    ENDLESS_BYTES,
    Dripping,
    Endless,
)
from tests.loopback import Talk, answering, raw_server

PATIENT_S: Final = 60
TIMEOUT_S: Final = 1
BATCH: Final = [
    TracedSpans(
        "1" * 32,
        [Span(span_id="1" * 16, parent_id="", kind="", name="a", start_ms=1, end_ms=2, status="")],
    )
]
CHUNK: Final = b"10000\r\n" + b"a" * 65_536 + b"\r\n"
BOMB: Final = gzip.compress(b"\0" * ENDLESS_BYTES)
FAILED: Final = b"HTTP/1.1 400 Bad\r\n"
TAKEN: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"


@pytest.fixture(name="exporting")
def _exporting(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Export]:
    def export(url: str, protocol: str = "http/protobuf") -> Export:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", str(TIMEOUT_S))
        return otlp_export(os.environ, "rillflow:execution:0")

    return export


async def exported(export: Export) -> str | None:
    return await asyncio.wait_for(asyncio.to_thread(export, BATCH), PATIENT_S)


@pytest.mark.parametrize(
    ("head", "piece", "is_taken"),
    [
        (CHUNKED, CHUNK, True),
        (CHUNKED.replace(b"200 OK", b"400 Bad"), CHUNK, False),
        (CHUNKED + b"1;", b"x" * 65_536, True),
        (CHUNKED + b"0\r\n", b"X-A: " + b"x" * 60_000 + b"\r\n", True),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"a" * 65_536, True),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000, False),
    ],
    ids=["chunks", "of an error", "an extension", "trailers", "no length", "100 Continue"],
)
async def test_an_answer_without_an_end_is_not_read_on(
    exporting: Callable[[str], Export], head: bytes, piece: bytes, *, is_taken: bool
) -> None:
    endless = Endless(head, piece)
    async with raw_server(endless.talk) as server:
        reason = await exported(exporting(f"http://127.0.0.1:{server.port}"))
        await asyncio.wait_for(endless.ended.wait(), PATIENT_S)
        sent_bytes = endless.sent_bytes / server.connections
    assert (reason is None) == is_taken
    assert sent_bytes < BUFFERS_BYTES


@pytest.mark.parametrize("part", DRIPS)
async def test_an_answer_that_comes_byte_by_byte_is_given_up(
    exporting: Callable[[str], Export], part: str
) -> None:
    dripping = Dripping(*DRIPS[part], every_s=TIMEOUT_S / 20)
    async with raw_server(dripping.talk) as server:
        await exported(exporting(f"http://127.0.0.1:{server.port}"))
        await asyncio.wait_for(dripping.ended.wait(), PATIENT_S)


async def test_a_compressed_answer_is_not_unpacked(exporting: Callable[[str], Export]) -> None:
    head = b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB)
    async with raw_server(answering(FAILED + head + BOMB)) as server:
        export = exporting(f"http://127.0.0.1:{server.port}")
        tracemalloc.start()
        try:
            assert await exported(export)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak_bytes < BUFFERS_BYTES


def collector(head: bytes, seen: list[bytes]) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader
        writer.write(head + b"\r\n")
        await writer.drain()
        seen.append(head)

    return talk


async def test_a_connection_is_kept_for_the_next_batch(
    exporting: Callable[[str], Export],
) -> None:
    body = b"HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n" + b"a" * 65_534
    async with raw_server(collector(body, [])) as server:
        export = exporting(f"http://127.0.0.1:{server.port}")
        for _ in range(3):
            assert await exported(export) is None
    assert (server.connections, server.requests) == (1, 3)


async def test_a_redirect_is_neither_followed_nor_taken_for_success(
    exporting: Callable[[str], Export],
) -> None:
    redirect = b"HTTP/1.1 307 Elsewhere\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n"
    async with raw_server(collector(redirect, [])) as server:
        reason = await exported(exporting(f"http://127.0.0.1:{server.port}"))
    assert "no redirect is followed" in (reason or "")
    assert server.requests == 1


async def test_a_collector_sets_no_cookies(exporting: Callable[[str], Export]) -> None:
    heads: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(TAKEN + b"Set-Cookie: a=b; Path=/\r\n\r\n")
        await writer.drain()
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    async with raw_server(talk) as server:
        export = exporting(f"http://127.0.0.1:{server.port}")
        for _ in range(2):
            assert await exported(export) is None
    assert [b"cookie" in head.lower() for head in heads] == [False]


async def test_the_session_of_a_provider_of_credentials_is_bounded_too() -> None:
    class Provided(requests.Session):
        """A session that signs its requests."""

    class Found:
        """An entry point, as packages have it."""

        @staticmethod
        def load() -> Any:
            return Provided

    endless = Endless(CHUNKED, CHUNK)
    variables = {"OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER": "cloud"}
    async with raw_server(endless.talk) as server:
        session = bounded_session(variables, lambda **_: [Found])
        url = f"http://127.0.0.1:{server.port}"
        answer = await asyncio.to_thread(session.request, "POST", url, data=b"", timeout=PATIENT_S)
        await asyncio.wait_for(endless.ended.wait(), PATIENT_S)
    assert isinstance(session, Provided)
    assert answer.status_code == 200
    assert endless.sent_bytes < BUFFERS_BYTES


def test_a_provider_of_credentials_that_is_not_there_is_told_of() -> None:
    with pytest.raises(ValueError, match="is named cloud"):
        bounded_session({"OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER": "cloud"})


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
async def test_a_large_answer_over_grpc_is_refused(
    exporting: Callable[..., Export], compression: Any
) -> None:
    answers: list[int] = []

    class Servicer(service.TraceServiceServicer):
        async def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - the service's
            del request, context
            answers.append(1)
            answer = wire.ExportTraceServiceResponse()
            answer.partial_success.error_message = "a" * (MOST_ANSWER_BYTES + 1)
            return answer

    server = grpc.aio.server(compression=compression)
    add_to_server: Any = service.add_TraceServiceServicer_to_server
    add_to_server(Servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        reason = await exported(exporting(f"http://127.0.0.1:{port}", "grpc"))
    finally:
        await server.stop(None)
    assert answers
    assert reason
