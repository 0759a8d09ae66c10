"""Frames: messages between actors on a stream of bytes, and their answers.

A frame is a header (length, number, kind) and a payload, which is a message
(``rillflow/ports/messages.py``), its answer, or a refusal. The kind also has the protocol of its
sender (``rillflow/ports/deployment.py``); one of a release that does not say it is answered without
it, as it expects. Between nodes each frame has a tag as well, made with a key of the connection
(``rillflow/actors/connections/network.py``). A connection on which anything else arrives is cut.
No Rillflow error becomes an exception of Ray, and each has the same class on both sides.

Used by `actors`.
"""

import asyncio
import logging
import struct
from collections.abc import Awaitable, Callable
from hashlib import blake2b
from hmac import compare_digest
from typing import Final, NamedTuple, TypeAlias, cast

from rillflow.errors import DefectError, ProtocolError, RillflowError
from rillflow.ports.deployment import PROTOCOL, UNSAID, refuse_distant
from rillflow.ports.executions import decode_refusal, encode_refusal
from rillflow.task_set import TaskSet

log = logging.getLogger("rillflow.peers")

ANSWER: Final = 1
REFUSAL: Final = 2


class Response(NamedTuple):
    """An ``ANSWER`` with its bytes, or a ``REFUSAL`` with an encoded error."""

    kind: int
    payload: bytes


# Where actors of a release that does not say its protocol find it, which get it from ``take``.
Response.__module__ = "rillflow.actors.peers"


async def response_of(answer: Awaitable[bytes], process: str) -> Response:
    """Wait for an answer; an unexpected exception is logged here, and reported by its type only."""
    try:
        return Response(ANSWER, await answer)
    except Exception as error:  # noqa: BLE001 - told to the sender
        return refusal_of(error, process)


def refusal_of(error: Exception, process: str) -> Response:
    """Tell of an error in the place of an answer; an unexpected one is logged here."""
    if isinstance(error, RillflowError):
        return Response(REFUSAL, encode_refusal(error))
    log.error("message_failed", exc_info=error, extra={"actor": process})
    return Response(REFUSAL, encode_refusal(DefectError.of(error, process)))


def answer_of(response: Response) -> bytes:
    """Return an answer.

    Raises:
        RillflowError: The other actor refused, or met a defect.
    """
    if response.kind == ANSWER:
        return response.payload
    raise decode_refusal(response.payload)


async def exchanged(
    theirs: int, ask: Callable[[], Awaitable[bytes]], process: str
) -> tuple[int, int, bytes]:
    """Answer a message over Ray of a process with the protocol ``theirs``.

    Returns:
        The protocol of this process, the kind of the response and its payload.
    """
    try:
        refuse_distant(theirs, f"a process that asks {process}")
    except ProtocolError as error:
        return PROTOCOL, *refusal_of(error, process)
    return PROTOCOL, *await response_of(ask(), process)


Serve: TypeAlias = Callable[[bytes], bytes | Awaitable[bytes]]
"""Answers a message, at once where there is nothing to wait for: that takes no task."""

JOINED_BYTES: Final = 64 * 1024
"""A payload up to this size is copied, so that it is written together with its head."""
MOST_FRAME_BYTES: Final = 1 << 30
"""A longer frame is not received; the largest messages are answers of 256 MiB."""
TAG_BYTES: Final = 16
_HEADER: Final = struct.Struct(">IQB")
_NUMBER: Final = struct.Struct(">Q")
_REQUEST: Final = 0
"""The kind of a request frame; others are the kinds of a response."""
_PING: Final = 3
"""The kind of a frame that is answered with itself."""
_NO_CALL: Final = (1 << 64) - 1
"""The number of a frame that nobody waits for."""
_KIND_BITS: Final = 2
_KIND: Final = (1 << _KIND_BITS) - 1
_OURS: Final = PROTOCOL << _KIND_BITS
"""Added to a kind: the protocol of this process."""


class Seal:
    """The tags of the frames of one connection, by a key for each direction.

    A tag is of a frame and of how many came before it, so a frame that was changed, left out,
    repeated or sent by somebody else does not fit.
    """

    def __init__(self, sending: bytes, receiving: bytes) -> None:
        self._sending, self._receiving = sending, receiving
        self._sent = self._received = 0

    def tag(self, head: bytes, payload: bytes) -> bytes:
        """Return the tag of the next frame to send."""
        self._sent += 1
        return _tag(self._sending, self._sent, head, payload)

    def fits(self, head: memoryview, tag: memoryview, payload: memoryview) -> bool:
        """Tell whether the next frame that is received has its tag."""
        self._received += 1
        return compare_digest(_tag(self._receiving, self._received, head, payload), tag)


def _tag(key: bytes, number: int, head: bytes | memoryview, payload: bytes | memoryview) -> bytes:
    made = blake2b(_NUMBER.pack(number), key=key, digest_size=TAG_BYTES)
    made.update(head)
    made.update(payload)
    return made.digest()


class Frames(asyncio.Protocol):
    """Splits received data into frames; with a ``seal`` each one has a tag behind its header."""

    def __init__(self, seal: Seal | None = None) -> None:
        self._buffer = bytearray()
        self._wanted = 0
        self._seal = seal
        self._head_bytes = _HEADER.size + (TAG_BYTES if seal else 0)
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Have something to send by."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take the frames that are complete."""
        buffer = self._buffer
        buffer += data
        if len(buffer) < self._wanted:
            return
        start, self._wanted = 0, 0
        with memoryview(buffer) as view:
            while len(buffer) - start >= self._head_bytes:
                length, number, kind = _HEADER.unpack_from(buffer, start)
                begin = start + self._head_bytes
                end = begin + length
                if len(buffer) < end:
                    self._wanted = end - start
                    break
                with view[begin:end] as payload:
                    if self._seal is not None and not self._fits(view[start:begin], payload):
                        break
                    self.frame_received(number, kind, payload)
                start = end
        if self._wanted > MOST_FRAME_BYTES:
            self.cut(f"a frame of {self._wanted:,} bytes exceeds the limit")
        del buffer[:start]

    def _fits(self, head: memoryview, payload: memoryview) -> bool:
        assert self._seal is not None  # noqa: S101 - only then
        size = _HEADER.size
        if self._seal.fits(head[:size], head[size:], payload):
            return True
        self.cut("the tag of a frame does not fit")
        return False

    def cut(self, reason: str) -> None:
        """Close a connection at once, because of what arrives on it, or does not."""
        log.warning("connection_cut", extra={"reason": reason})
        self._wanted = 0
        if self.transport is not None:
            self.transport.abort()

    def send(self, number: int, kind: int, payload: bytes) -> None:
        """Send a frame."""
        if self.transport is None or self.transport.is_closing():
            return
        head = _HEADER.pack(len(payload), number, kind)
        if self._seal is not None:
            head += self._seal.tag(head, payload)
        if len(payload) <= JOINED_BYTES:
            self.transport.write(head + payload)
        else:
            self.transport.write(head)
            self.transport.write(payload)

    def frame_received(self, number: int, kind: int, payload: memoryview) -> None:
        """Handle a frame; the payload is valid until this returns."""
        raise AssertionError(number, kind, payload)


class ServerConnection(Frames):
    """The end that answers; errors call this process ``process``."""

    def __init__(self, serve: Serve, process: str, seal: Seal | None = None) -> None:
        super().__init__(seal)
        self._serve = serve
        self._process = process
        self._under_way = TaskSet[None]()

    def frame_received(self, number: int, kind: int, payload: memoryview) -> None:
        """Answer a message, at once if there is nothing to wait for."""
        ours = _OURS if kind > _KIND else 0
        try:
            if kind != _OURS | _REQUEST:
                refuse_distant(kind >> _KIND_BITS or UNSAID, f"a process that asks {self._process}")
                if kind & _KIND == _PING:
                    self.send(number, ours | _PING, b"")
                    return
            answer = self._serve(bytes(payload))
        except Exception as error:  # noqa: BLE001 - the sender is told
            refusal = refusal_of(error, self._process)
            self.send(number, ours | refusal.kind, refusal.payload)
            return
        if isinstance(answer, bytes):
            self.send(number, ours | ANSWER, answer)
        else:
            self._under_way.start(self._answer(number, ours, answer))

    async def _answer(self, number: int, ours: int, answer: Awaitable[bytes]) -> None:
        response = await response_of(answer, self._process)
        self.send(number, ours | response.kind, response.payload)


class SocketConnection(Frames):
    """The client side of a connection; many messages may be under way on it."""

    def __init__(self, seal: Seal | None = None) -> None:
        super().__init__(seal)
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
        self.send(number, _OURS | _REQUEST, message)
        try:
            return await future
        finally:
            self._waiting.pop(number, None)
            del future  # the traceback of its error has this frame: they would keep each other

    def ping(self) -> None:
        """Have the other side send something, which needs its event loop and nothing else."""
        self.send(_NO_CALL, _OURS | _PING, b"")

    def close(self) -> None:
        """Close the connection."""
        if self.transport is not None:
            self.transport.close()

    def frame_received(self, number: int, kind: int, payload: memoryview) -> None:
        """Pass an answer to its caller."""
        future = self._waiting.get(number)
        if future is None or future.done():
            return
        try:
            if kind & ~_KIND != _OURS:
                refuse_distant(kind >> _KIND_BITS or UNSAID, "the process that answers")
            if kind & _KIND == ANSWER:
                future.set_result(bytes(payload))
            else:
                future.set_exception(decode_refusal(bytes(payload)))
        except ProtocolError as error:
            future.set_exception(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail all calls under way."""
        self.lost = True
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ConnectionError(f"the connection was lost: {exc}"))
