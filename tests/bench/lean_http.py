"""A lean HTTP client for the load generator, which shares two cores with what it measures.

It knows HTTP/1.1 with a content length, on connections that stay open, and nothing else.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast
from urllib.parse import urlsplit


class _Connection(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self) -> None:
        self._buffer = b""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self.is_open = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator or self._answer is None:
            return
        head = head.lower()
        self.is_open = self.is_open and b"\r\nconnection: close" not in head
        length = head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
        if not length:
            self._fail(f"an answer without a content length: {head!r}")
        elif len(body) >= int(length):
            self._buffer = b""
            answer, self._answer = self._answer, None
            answer.set_result((int(head[9:12]), body))

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        self._fail(f"the connection was closed: {exc}")

    def send(self, request: bytes) -> "asyncio.Future[tuple[int, bytes]]":
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._answer

    def _fail(self, why: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError(why))


class LeanClient:
    """Requests to one server; as many connections as there are requests at once."""

    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        self._host, self._port = str(parts.hostname), parts.port or 80
        self._end = f" HTTP/1.1\r\nHost: {parts.netloc}\r\n".encode()
        self._idle: list[_Connection] = []

    async def post(self, target: bytes, body: bytes) -> bytes:
        """Post and return the body of a good answer."""
        kind = b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        return await self._ask(b"POST " + target + self._end + kind + body)

    async def get(self, target: bytes) -> bytes:
        """Get and return the body of a good answer."""
        return await self._ask(b"GET " + target + self._end + b"\r\n")

    def close(self) -> None:
        """Close the connections."""
        for connection in self._idle:
            connection.transport.close()

    async def _ask(self, request: bytes) -> bytes:
        connection = await self._connection()
        status, body = await connection.send(request)
        self._idle.append(connection)
        if status != 200:
            raise SystemExit(f"{request[:200]!r} was answered {status}: {body[:200]!r}")
        return body

    async def _connection(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(_Connection, self._host, self._port)
        return connection


@asynccontextmanager
async def lean_client(base_url: str) -> AsyncIterator[LeanClient]:
    """Open a client and close it."""
    client = LeanClient(base_url)
    try:
        yield client
    finally:
        client.close()
