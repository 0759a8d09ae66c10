"""Answers of HTTP that a server spoils: without an end, or byte by byte."""

import asyncio
from contextlib import suppress
from typing import Final

CHUNKED: Final = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ENDLESS_BYTES: Final = 64 << 20
"""What a server that answers without an end stops at, where nobody ends its connection."""
BUFFERS_BYTES: Final = 16 << 20
"""More than two sockets hold between them."""
DRIPS: Final = {
    "header": (b"HTTP/1.1 200 OK\r\nX-A: ", b"a"),
    "status": (b"HTTP/1.1 200 O", b"K"),
    "100 Continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "size of a chunk": (CHUNKED, b"0"),
    "extension": (CHUNKED + b"1;", b"x"),
    "trailer": (CHUNKED + b"2\r\n{}\r\n0\r\n", b"x"),
    "body": (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"a"),
}
"""The beginning of an answer, and what then comes again and again."""


class Endless:
    """Answers with a head, and then with a piece again and again."""

    def __init__(self, head: bytes, piece: bytes) -> None:
        self._head, self._piece = head, piece
        self.sent_bytes = 0
        self.ended = asyncio.Event()

    async def talk(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Write until the client ends the connection."""
        try:
            writer.write(self._head)
            while self.sent_bytes < ENDLESS_BYTES:
                writer.write(self._piece)
                await writer.drain()
                self.sent_bytes += len(self._piece)
        finally:
            self.ended.set()


class Dripping:
    """Answers with a head, and then with a piece now and then."""

    def __init__(self, head: bytes, piece: bytes, every_s: float) -> None:
        self._head, self._piece, self._every_s = head, piece, every_s
        self.ended = asyncio.Event()

    async def talk(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Write until the client ends the connection."""
        never = asyncio.Event()
        try:
            writer.write(self._head)
            while True:
                writer.write(self._piece)
                await writer.drain()
                with suppress(TimeoutError):
                    await asyncio.wait_for(never.wait(), self._every_s)
        finally:
            self.ended.set()
