"""A peer: another actor, by name. Reached over a socket on this machine, else over Ray.

A socket costs much less per message than a Ray call; ``docs/decisions/processes`` has the figures.
A frame on it is a header (length, number, kind) and a payload, which is a message
(``rillflow/ports/messages.py``), its answer, or a refusal. The kind also has the protocol of its
sender (``rillflow/ports/deployment.py``); one of a release that does not say it is answered without
it, as it expects. The socket is in a folder that only this user can enter. Sockets, and the methods
that actors offer over Ray, return a ``Response``. So no Rillflow error becomes a Ray exception, and
each has the same class on both sides.

Used by `actors`.
"""

import asyncio
import logging
import os
import struct
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias, cast

import ray

from rillflow.errors import (
    DefectError,
    GoneError,
    ProtocolError,
    RillflowError,
    UnavailableError,
)
from rillflow.ports.cluster import protocol_of_report
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

RUN_DIR: Final = "RILLFLOW_RUN_DIR"
"""Environment variable with the folder that is removed with the stack, if there is one."""

JOINED_BYTES: Final = 64 * 1024
"""A payload up to this size is copied, so that it is written together with its head."""
_HEADER: Final = struct.Struct(">IQB")
_REQUEST: Final = 0
"""The kind of a request frame; others are the kinds of a response."""
_KIND_BITS: Final = 2
_KIND: Final = (1 << _KIND_BITS) - 1
_OURS: Final = PROTOCOL << _KIND_BITS
"""Added to a kind: the protocol of this process."""


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
        ours = _OURS if kind > _KIND else 0
        try:
            if kind != _OURS | _REQUEST:
                refuse_distant(kind >> _KIND_BITS or UNSAID, f"a process that asks {self._process}")
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

    def beside(self, name: str) -> str:
        """Return where another socket of this process may be, in the same folder."""
        return str(Path(self._folder.name) / name)

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
        self.send(number, _OURS | _REQUEST, message)
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


REACH_S = 30.0
PAUSE_S = 0.1


class _MissingActorError(Exception):
    """No actor has the name; one that was restarted, or moved, will have it again."""


class Peer:
    """Calls one actor; a call that was lost with the actor's process is repeated.

    The actor has the methods ``socket() -> (node id, path)`` and ``exchange(protocol, message) ->
    (protocol, kind, payload)``, and every ``exchange`` may be repeated. One of a release that does
    not say its protocol has ``take(message) -> Response``. A ``mortal`` actor leaves for good when
    its work is done; any other comes back. One that ``may_end`` counts as gone if it does not exist
    until the time limit.
    """

    def __init__(
        self, name: str, namespace: str, *, mortal: bool = False, may_end: bool = False
    ) -> None:
        self.name = name
        self._namespace = namespace
        self._mortal = mortal
        self._may_end = may_end
        self._handle: Any = None
        self._connection: SocketConnection | None = None
        self._connecting = asyncio.Lock()
        self._over_ray = False
        self._protocol = UNSAID

    def close(self) -> None:
        """Close the connection; a call that is under way is repeated."""
        if self._connection is not None:
            self._connection.close()

    async def _find(self) -> Any:
        """Return the actor's handle, looked up in a thread because Ray blocks.

        Raises:
            _MissingActorError: There is none.
        """
        if self._handle is None:
            try:
                self._handle = await asyncio.to_thread(
                    ray.get_actor, self.name, namespace=self._namespace
                )
            except ValueError as error:
                raise _MissingActorError(f"no actor is called {self.name}") from error
        return self._handle

    def _forget(self) -> None:
        """Look the actor up again at the next call."""
        self._handle = None
        self._over_ray = False

    async def call(self, message: bytes) -> bytes:
        """Send a message until it is answered.

        Raises:
            GoneError: The actor has left for good.
            UnavailableError: The actor cannot be reached in time.
            DefectError: An unexpected exception was raised in the actor.
            RillflowError: The actor refused.
        """
        give_up = time.monotonic() + REACH_S
        while True:
            try:
                return await self._call_once(message)
            except ray.exceptions.RayTaskError as error:
                log.exception("actor_failed", extra={"actor": self.name})
                raise DefectError.of(error.cause or error, self.name) from error
            except (ray.exceptions.RayError, _MissingActorError, OSError) as error:
                self._forget()
                # The known process has died, but another one may have the name by now.
                if self._mortal and isinstance(error, _MissingActorError):
                    raise GoneError(f"{self.name} has left") from error
                if time.monotonic() > give_up:
                    log.warning("not_reached", extra={"actor": self.name, "reason": str(error)})
                    if self._may_end and isinstance(error, _MissingActorError):
                        raise GoneError(f"{self.name} has ended") from error
                    raise UnavailableError(f"{self.name} cannot be reached") from error
            await asyncio.sleep(PAUSE_S)

    async def _call_once(self, message: bytes) -> bytes:
        if self._connection is None or self._connection.lost:
            await self._connect()
        if self._connection is not None:
            return await self._connection.call(message)
        actor = await self._find()
        if self._protocol <= UNSAID:
            return answer_of(Response(*await actor.take.remote(message)))
        theirs, kind, payload = await actor.exchange.remote(PROTOCOL, message)
        refuse_distant(theirs, self.name)
        return answer_of(Response(kind, payload))

    async def _connect(self) -> None:
        async with self._connecting:
            if self._over_ray or (self._connection is not None and not self._connection.lost):
                return
            self._connection = None
            actor = await self._find()
            node, path = await actor.socket.remote()
            if node == ray.get_runtime_context().get_node_id():
                self._connection = await SocketConnection.connect(path)
            else:
                self._protocol = await _protocol_of(actor)
                refuse_distant(self._protocol, self.name)
                self._over_ray = True


async def _protocol_of(actor: Any) -> int:
    """Ask an actor for its protocol by a method that every release has.

    The methods of a handle are those of the class that this process knows.
    """
    if not hasattr(actor, "report"):
        return UNSAID
    return protocol_of_report(await actor.report.remote())
