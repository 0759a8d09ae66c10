"""What functions send to their server, and what `up` asks its own, is held by no answer."""

import asyncio
import gzip
import hashlib
import io
import threading
from typing import Final

import pytest

from rillflow.artifacts.references import ArtifactReference
from rillflow.client.ended_executions import MOST_LINE_BYTES, ended_executions
from rillflow.functions.artifacts import ServerArtifacts
from rillflow.functions.deliveries import Address, Deliveries
from rillflow.functions.running import Outcome
from serve.stack.standalone import is_ready
from tests.hostile_answers import BUFFERS_BYTES, CHUNKED, DRIPS, Dripping, Endless
from tests.loopback import Talk, answering, raw_server

PATIENT_S: Final = 60
SHORT_S: Final = 1
HEADS: Final = ("header", "status", "100 Continue")
OUTCOME: Final = Outcome(b"{}", succeeded=True, duration_s=0.1)
CONTENT: Final = b"\0" * 100_000
REFERENCE: Final = ArtifactReference(
    hashlib.sha256(CONTENT).hexdigest(), len(CONTENT), "text/plain", "note"
)


@pytest.mark.parametrize("part", HEADS)
async def test_an_outcome_is_given_up_when_its_patience_ends(part: str) -> None:
    dripping = Dripping(*DRIPS[part], every_s=SHORT_S / 20)
    deliveries = Deliveries(0.0, post_s=SHORT_S)
    async with raw_server(dripping.talk) as server:
        delivered = deliveries.deliver(lambda: Address(server.url, "f", "c"), OUTCOME)
        assert not await asyncio.wait_for(delivered, PATIENT_S)
        await asyncio.wait_for(dripping.ended.wait(), PATIENT_S)
        await deliveries.close()


async def kept_and_opened(talk: Talk) -> tuple[BaseException, BaseException]:
    """Store an artifact at a server, and fetch one; return how that went wrong."""
    async with raw_server(talk) as server:
        artifacts = ServerArtifacts(server.url, lambda _: None, 1 << 30, SHORT_S)
        kept = asyncio.to_thread(artifacts.keep, io.BytesIO(CONTENT), "text/plain", "note")
        with pytest.raises(OSError, match=r"cannot be stored|does not store") as not_kept:
            await asyncio.wait_for(kept, PATIENT_S)
        opened = asyncio.to_thread(artifacts.open, REFERENCE, server.url)
        with pytest.raises(OSError, match="the artifact note") as not_opened:
            await asyncio.wait_for(opened, PATIENT_S)
    return not_kept.value, not_opened.value


@pytest.mark.parametrize("part", HEADS)
async def test_a_program_in_the_place_of_a_server_that_starts_is_not_waited_for(part: str) -> None:
    dripping = Dripping(*DRIPS[part], every_s=SHORT_S / 20)
    async with raw_server(dripping.talk) as server:
        asked = asyncio.to_thread(is_ready, "127.0.0.1", server.port, answer_s=SHORT_S)
        assert not await asyncio.wait_for(asked, PATIENT_S)
        await asyncio.wait_for(dripping.ended.wait(), PATIENT_S)


@pytest.mark.parametrize("part", DRIPS)
async def test_an_artifact_is_given_up_whose_answer_comes_byte_by_byte(part: str) -> None:
    dripping = Dripping(*DRIPS[part], every_s=SHORT_S / 20)
    await kept_and_opened(dripping.talk)
    await asyncio.wait_for(dripping.ended.wait(), PATIENT_S)


async def test_a_compressed_artifact_is_not_unpacked() -> None:
    packed = gzip.compress(CONTENT)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    _, not_opened = await kept_and_opened(answering(head + packed))
    assert "is compressed" in str(not_opened)


@pytest.mark.parametrize("part", ["header", "100 Continue", "size of a chunk", "body"])
async def test_a_stream_whose_lines_do_not_come_is_begun_again(part: str) -> None:
    dripping = Dripping(*DRIPS[part], every_s=SHORT_S / 20)
    async with raw_server(dripping.talk) as server:
        assert await _read_until(dripping.ended, server.port, SHORT_S) == []


async def test_a_line_of_a_stream_has_a_size() -> None:
    endless = Endless(CHUNKED, b"10000\r\n" + b"a" * 65_536 + b"\r\n")
    async with raw_server(endless.talk) as server:
        assert await _read_until(endless.ended, server.port, PATIENT_S) == []
        assert endless.sent_bytes / server.connections < MOST_LINE_BYTES + BUFFERS_BYTES


async def test_the_executions_of_a_stream_are_told_line_by_line() -> None:
    ids = [f"b:f_c_01890a5d-ac96-774b-bcce-b302099a805{number}" for number in range(2)]
    told = "".join(
        f'data: {{"executions": [{{"execution_id": "{each}", "status": "succeeded"}}]}}\r\n\r\n'
        for each in ids
    )
    head = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n: begun\n\n"
    stopped = threading.Event()
    async with raw_server(answering((head + told).encode())) as server:
        asked = f"http://127.0.0.1:{server.port}", "key", stopped, None, PATIENT_S

        def read() -> list[str]:
            found: list[str] = []
            for each in ended_executions(*asked):
                found.append(each)
                if len(found) == len(ids):
                    stopped.set()
            return found

        assert await asyncio.wait_for(asyncio.to_thread(read), PATIENT_S) == ids


async def _read_until(over: asyncio.Event, port: int, silence_s: float) -> list[str]:
    """Read the stream of a server until something is over; return what was told meanwhile."""
    stopped = threading.Event()
    told = ended_executions(f"http://127.0.0.1:{port}", "key", stopped, None, silence_s)
    reading = asyncio.create_task(asyncio.to_thread(list, told))
    await asyncio.wait_for(over.wait(), PATIENT_S)
    stopped.set()
    return await asyncio.wait_for(reading, PATIENT_S)
