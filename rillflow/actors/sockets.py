"""The socket transport: a connection between two actors of one machine over a UNIX socket.

`peers.py` uses it instead of Ray calls, because it costs much less per message;
``docs/decisions/processes`` has the figures. A frame is a header (length, number, kind) and a
payload, which is a message (``rillflow/ports/messages.py``), its answer, or a refusal. The socket
is in a folder that only this user can enter.
"""

import asyncio
import os
import struct
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeAlias, cast

from rillflow.actors.responses import ANSWER, refusal_of, response_of
from rillflow.ports.executions import decode_refusal
from rillflow.task_set import TaskSet

Serve: TypeAlias = Callable[[bytes], bytes | Awaitable[bytes]]
"""Answers a message, at once where there is nothing to wait for: that takes no task."""

RUN_DIR: Final = "RILLFLOW_RUN_DIR"
"""Environment variable with the folder that is removed with the stack, if there is one."""

JOINED_BYTES: Final = 64 * 1024
"""A payload up to this size is copied, so that it is written together with its head."""
_HEADER: Final = struct.Struct(">IQB")
_REQUEST: Final = 0
"""The kind of a request frame; others are the kinds of a response."""


class _Frames(asyncio.Protocol):
    """Splits received data into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._wanted = 0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        if len(buffer) < self._wanted:
            return
        start, self._wanted = 0, 0
        with memoryview(buffer) as view:
            while len(buffer) - start >= _HEADER.size:
                length, number, kind = _HEADER.unpack_from(buffer, start)
                end = start + _HEADER.size + length
                if len(buffer) < end:
                    self._wanted = end - start
                    break
                with view[start + _HEADER.size : end] as payload:
                    self.frame_received(number, kind, payload)
                start = end
        del buffer[:start]

    def send(self, number: int, kind: int, payload: bytes) -> None:
        """Send a frame."""
        if self.transport is None or self.transport.is_closing():
            return
        head = _HEADER.pack(len(payload), number, kind)
        if len(payload) <= JOINED_BYTES:
            self.transport.write(head + payload)
        else:
            self.transport.write(head)
            self.transport.write(payload)

    def frame_received(self, number: int, kind: int, payload: memoryview) -> None:
        """Handle a frame; the payload is valid until this returns."""
        raise AssertionError(number, kind, payload)


class _ServerConnection(_Frames):
    def __init__(self, serve: Serve, process: str) -> None:
        super().__init__()
        self._serve = serve
        self._process = process
        self._under_way = TaskSet[None]()

    def frame_received(self, number: int, kind: int, payload: memoryview) -> None:
        del kind
        try:
            answer = self._serve(bytes(payload))
        except Exception as error:  # noqa: BLE001 - the sender is told
            self.send(number, *refusal_of(error, self._process))
            return
        if isinstance(answer, bytes):
            self.send(number, ANSWER, answer)
        else:
            self._under_way.start(self._answer(number, answer))

    async def _answer(self, number: int, answer: Awaitable[bytes]) -> None:
        response = await response_of(answer, self._process)
        self.send(number, response.kind, response.payload)


class SocketServer:
    """Answers the messages of other actors on this machine."""

    def __init__(self, serve: Serve, process: str) -> None:
        """Answer by ``serve``; errors call this process ``process``."""
        self._serve = serve
        self._process = process
        # After a kill, whoever removes the place removes this actor's folder.
        run_dir = os.environ.get(RUN_DIR, os.devnull)
        place = run_dir if Path(run_dir).is_dir() else None
        self._folder = tempfile.TemporaryDirectory(prefix="rillflow-", dir=place)
        self._server: asyncio.AbstractServer | None = None

    @property
    def path(self) -> str:
        """Where the socket is."""
        return str(Path(self._folder.name) / "socket")

    async def start(self) -> None:
        """Start to answer."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(self._accept, self.path)

    def _accept(self) -> _ServerConnection:
        return _ServerConnection(self._serve, self._process)

    def close(self) -> None:
        """Accept no new connections, and remove the socket."""
        if self._server is not None:
            self._server.close()
        self._folder.cleanup()


class SocketConnection(_Frames):
    """The client side of a connection; many messages may be under way on it."""

    def __init__(self) -> None:
        super().__init__()
        self._next = 0
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self.lost = False

    @classmethod
    async def connect(cls, path: str) -> "SocketConnection":
        """Open a connection.

        Raises:
            OSError: No server answers there.
        """
        _, connection = await asyncio.get_running_loop().create_unix_connection(cls, path)
        return connection

    async def call(self, message: bytes) -> bytes:
        """Send a message and return its answer.

        Raises:
            ConnectionError: The connection was lost; whether the request took effect is unknown.
            RillflowError: The other side refused, or met a defect.
        """
        if self.lost:
            raise ConnectionError("the connection is lost")
        number = self._next
        self._next += 1
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        self.send(number, _REQUEST, message)
        try:
            return await future
        finally:
            self._waiting.pop(number, None)

    def close(self) -> None:
        """Close the connection."""
        if self.transport is not None:
            self.transport.close()

    def frame_received(self, number: int, kind: int, payload: memoryview) -> None:
        """Pass an answer to its caller."""
        future = self._waiting.get(number)
        if future is None or future.done():
            return
        if kind == ANSWER:
            future.set_result(bytes(payload))
        else:
            future.set_exception(decode_refusal(bytes(payload)))

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail all calls under way."""
        self.lost = True
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ConnectionError(f"the connection was lost: {exc}"))
