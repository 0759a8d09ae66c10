"""A socket by which a Ray worker tells its dispatcher an outcome and gets the next call.

Both are bytes to this module. A frame is its length, four bytes, and as many bytes. A worker on
another node does not find the socket, and makes no further call.

Used by `ray_tasks/sharing/shared_tasks.py` and `ray_tasks/tasks.py`.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeAlias, cast

Answer: TypeAlias = Callable[[bytes], bytes]
"""Takes an outcome, and returns the next call, empty if there is none."""

MOST_BYTES: Final = 4 * 1024 * 1024
"""Limit of a frame; inputs and results that travel so are far smaller."""
_HEAD: Final = 4

log = logging.getLogger("rillflow.ray_tasks")


class FeedServer:
    """Listens for the workers of one dispatcher, at a path that only its user can reach."""

    def __init__(self, path: str, answer: Answer) -> None:
        """Listen at ``path``, nowhere if it is empty, once ``start`` was called."""
        self._path = path
        self._answer = answer
        self._server: asyncio.AbstractServer | None = None
        self._starting: asyncio.Task[None] | None = None

    @property
    def path(self) -> str:
        """Where workers may ask, empty while they cannot."""
        return self._path if self._server is not None else ""

    def start(self) -> None:
        """Begin to listen, if that has not begun."""
        if self._path and self._starting is None:
            self._starting = asyncio.create_task(self._listen(), name="feed")

    def close(self) -> None:
        """Listen no more."""
        if self._starting is not None:
            self._starting.cancel()
        if self._server is not None:
            self._server.close()

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_unix_server(
                lambda: _WorkerConnection(self._answer), self._path
            )
        except OSError:
            log.exception("ray_feed_not_opened")  # each call is a Ray task of its own then


class _WorkerConnection(asyncio.Protocol):
    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        while len(buffer) >= _HEAD:
            end = _HEAD + int.from_bytes(buffer[:_HEAD])
            if end > _HEAD + MOST_BYTES:
                self._close()
                return
            if len(buffer) < end:
                return
            frame = bytes(buffer[_HEAD:end])
            del buffer[:end]
            self._take(frame)

    def _take(self, frame: bytes) -> None:
        assert self._transport is not None  # noqa: S101 - it has received something
        try:
            self._transport.write(_framed(self._answer(frame)))
        except Exception:
            log.exception("ray_outcome_not_taken")
            self._close()

    def _close(self) -> None:
        self._buffer.clear()
        if self._transport is not None:
            self._transport.abort()


class Feed:
    """The worker's end of a connection; it waits for the dispatcher in the thread of its caller."""

    def __init__(self, path: str) -> None:
        """Connect to the dispatcher at ``path`` with the first outcome."""
        self._path = path
        self._socket: socket.socket | None = None

    def tell(self, outcome: bytes) -> bytes | None:
        """Tell an outcome; return the next call, empty if there is none.

        None is returned if the dispatcher could not be reached.
        """
        try:
            connection = self._socket
            if connection is None:
                connection = self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                connection.connect(self._path)
            connection.sendall(_framed(outcome))
            length = int.from_bytes(_received(connection, _HEAD))
            return _received(connection, length) if length else b""
        except OSError:
            return None

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.close()


def _framed(data: bytes) -> bytes:
    return len(data).to_bytes(_HEAD) + data


def _received(connection: socket.socket, count: int) -> bytes:
    """Return so many bytes.

    Raises:
        ConnectionError: The other side has closed the connection.
    """
    data = connection.recv(count)
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise ConnectionError("the dispatcher has closed the connection")
        data += more
    return data
