"""An answer beyond the limit fails its attempt early, and is neither read nor kept whole."""

import asyncio
import tracemalloc
from typing import Final

import pytest

from rillflow.gateways.outbound.settings import HttpSettings
from tests.api.serving import served
from tests.loopback import Talk, raw_server

MEBIBYTE: Final = 1024 * 1024
ANSWER_BYTES: Final = 100 * MEBIBYTE
PIECE: Final = (b'"' + b"x" * 1021 + b'",') * 64
PIECES: Final = ANSWER_BYTES // len(PIECE)
HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
ON_THE_WAY_BYTES: Final = 16 * MEBIBYTE
"""What the two ends of a connection may hold between them."""
LOOP: Final = """
workspace: shop
dagName: loop
type: flow
tasks:
  - name: list
    category: function
    pattern: task_sync
    resourceName: {url}
    outputMappings: [{{ source: $.output, target: $.context.items }}]
    next: each
  - name: each
    category: foreach
    inputMappings: [{{ source: $.context.items, target: $.input.items }}]
    iterationMapping: {{ collection: $.input.items, item: item }}
    tasks: [{{ name: nothing, category: pass }}]
"""


class Sent:
    """How much of the list was sent, and how."""

    def __init__(self, *, says_length: bool) -> None:
        self._says_length = says_length
        self.bytes = 0
        self.cut = asyncio.Event()

    def talk(self) -> Talk:
        async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await self._send(writer)
            finally:
                self.cut.set()

        return talk

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        chunked = b"Transfer-Encoding: chunked\r\n\r\n1\r\n[\r\n"
        length = b"Content-Length: %d\r\n\r\n[" % (PIECES * len(PIECE) + 3)
        writer.write(HEAD + (length if self._says_length else chunked))
        for _ in range(PIECES):
            if not self._says_length:
                writer.write(b"%x\r\n" % len(PIECE))
            writer.write(PIECE)
            if not self._says_length:
                writer.write(b"\r\n")
            await writer.drain()
            self.bytes += len(PIECE)
        writer.write(b"0]" if self._says_length else b"2\r\n0]\r\n0\r\n\r\n")
        await writer.drain()


@pytest.mark.parametrize("says_length", [True, False])
async def test_a_list_of_100_mb_for_a_loop_fails_its_task_before_it_is_read(
    *, says_length: bool
) -> None:
    limit = HttpSettings().max_response_bytes
    sent = Sent(says_length=says_length)
    async with raw_server(sent.talk()) as server, served() as api:
        definition = await api.add(LOOP.format(url=server.url))
        tracemalloc.start()
        try:
            shown = await api.ended(await api.submit(definition))
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        await sent.cut.wait()
    assert shown["dag_status"] == "FAILED"
    message = shown["tasks"]["list"]["invoke_msg"]["msg"]
    assert f"the answer is larger than {limit} bytes" in message
    assert shown["tasks"]["each"]["status"] == "NOT_STARTED"
    assert sent.bytes <= limit + ON_THE_WAY_BYTES
    assert peak_bytes < 3 * limit
