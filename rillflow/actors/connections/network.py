"""Connections between actors of different nodes, over TCP.

An actor makes a key at its start, and gives it out by a call over Ray, which asks for the token of
the cluster. Both ends prove that they have the key before anything else is read. Then they derive
keys for this connection, and each frame has a tag that is made with one of these
(``rillflow/actors/connections/frames.py``). Nobody else learns more of an actor than that a port is
open. Where Ray encrypts its calls (``RAY_USE_TLS``), the connections are encrypted with the same
certificates.

The steps of a connection, in bytes of fixed number:

1. client: ``MAGIC``, a nonce, and a proof of the key;
2. server: a nonce, and a proof for both nonces;
3. client: a proof for both nonces; frames follow.

Used by `actors/peers.py` and `actors/connections/sockets.py`.
"""

import asyncio
import hmac
import logging
import os
import secrets
import socket
import ssl
from collections import deque
from collections.abc import Callable, Generator, MutableMapping
from typing import Final, TypeAlias, TypeVar, cast

from cachetools import LRUCache

from rillflow.actors.connections.encryption import (
    MOST_NOT_ACCEPTED,
    EncryptedListener,
    Encryption,
    is_tls_of_ray,
    listening_socket,
    tls_of_ray,
)
from rillflow.actors.connections.frames import (
    Frames,
    Seal,
    Serve,
    ServerConnection,
    SocketConnection,
)
from rillflow.ports.messages import NetworkAddress

log = logging.getLogger("rillflow.peers")

MAGIC: Final = b"rillflow peer 1\n"
"""Another version of the handshake has another number here."""
NONCE_BYTES: Final = 32
PROOF_BYTES: Final = 32
KEY_BYTES: Final = 32
HANDSHAKE_S: Final = 5.0
"""A connection that has not proved anything until then is closed."""
MOST_HANDSHAKES: Final = 64
"""With more under way the oldest one is closed: an honest one takes milliseconds."""
MOST_GREETINGS: Final = 10_000
"""So many are known, the oldest of which may be answered again; 1 MB."""
CONNECT_S: Final = 3.0
"""How long an actor on another node may take to accept; a firewall may drop what is sent."""
TELL_S: Final = 60.0
"""Between log events about connections that were refused."""
PING_S: Final = 1.0
"""After so long without an answer an actor is asked for a sign of life."""
MOST_PINGS: Final = 5
"""So many without an answer, and the connection is cut: the actor may go on somewhere else."""
SILENT_S: Final = 5
"""A connection to a machine that confirms nothing for so long is lost."""

Opened = TypeVar("Opened", bound=Frames)
_Steps: TypeAlias = Generator[int, bytes, Seal]
"""Yields the number of bytes that it needs next, gets them, and returns the seal."""


class HandshakeError(ConnectionError):
    """The other side does not have the key, or does not speak this protocol."""


def _mac(key: bytes, purpose: bytes, nonces: bytes) -> bytes:
    return hmac.digest(key, purpose + b"\0" + nonces, "sha256")


def _greeting(key: bytes, write: Callable[[bytes], None]) -> _Steps:
    """Prove the key to a server, and have it proved."""
    mine = secrets.token_bytes(NONCE_BYTES)
    write(MAGIC + mine + _mac(key, b"hello", mine))
    answer = yield NONCE_BYTES + PROOF_BYTES
    nonces = mine + answer[:NONCE_BYTES]
    _compare(answer[NONCE_BYTES:], _mac(key, b"accept", nonces))
    write(_mac(key, b"confirm", nonces))
    return Seal(_mac(key, b"to the server", nonces), _mac(key, b"to the client", nonces))


def _accepting(
    key: bytes, write: Callable[[bytes], None], answered: MutableMapping[bytes, None]
) -> _Steps:
    """Have a client prove the key; one that does not gets no answer.

    ``answered`` has the nonces of earlier greetings, which only who has the key can make.
    """
    hello = yield len(MAGIC) + NONCE_BYTES + PROOF_BYTES
    _compare(hello[: len(MAGIC)], MAGIC)
    theirs = hello[len(MAGIC) : -PROOF_BYTES]
    _compare(hello[-PROOF_BYTES:], _mac(key, b"hello", theirs))
    if theirs in answered:
        raise HandshakeError("the greeting was sent before")
    answered[theirs] = None
    mine = secrets.token_bytes(NONCE_BYTES)
    nonces = theirs + mine
    write(mine + _mac(key, b"accept", nonces))
    _compare((yield PROOF_BYTES), _mac(key, b"confirm", nonces))
    return Seal(_mac(key, b"to the client", nonces), _mac(key, b"to the server", nonces))


def _compare(told: bytes, expected: bytes) -> None:
    if not hmac.compare_digest(told, expected):
        raise HandshakeError("the other side does not prove that it has the key")


class NetworkConnection(SocketConnection):
    """A connection to an actor on another node, which is cut when nothing comes back.

    A machine that has vanished, or was stopped, closes no connection, and Ray starts its actors
    anew on other machines. Whoever waits for an answer looks for the actor again then.
    """

    def __init__(self, seal: Seal | None = None, ping_s: float = PING_S) -> None:
        super().__init__(seal)
        self._ping_s = ping_s
        self._pings = 0
        self._unsent_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to look for signs of life."""
        super().connection_made(transport)
        self._timer = asyncio.get_running_loop().call_later(self._ping_s, self._look)

    def data_received(self, data: bytes) -> None:
        """Take the frames that are complete."""
        self._pings = 0
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail all calls under way."""
        self._timer.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        # A large message takes its time: pings wait behind it, and what leaves is taken.
        unsent_bytes = 0 if self.transport is None else self.transport.get_write_buffer_size()
        if 0 < unsent_bytes < self._unsent_bytes:
            self._pings = 0
        self._unsent_bytes = unsent_bytes
        # Counted and not timed: this process may have been stopped itself.
        if self._pings >= MOST_PINGS:
            self.cut("nothing comes back")
            return
        self._pings += 1
        self.ping()
        self._timer = asyncio.get_running_loop().call_later(self._ping_s, self._look)


class _Handshake(asyncio.Protocol):
    """Carries out the steps, and has the connection go on as frames then."""

    def __init__(
        self,
        begin: Callable[[Callable[[bytes], None]], _Steps],
        made: Callable[[Seal], Frames],
        ended: Callable[["_Handshake", Frames | None], None],
        patience_s: float = HANDSHAKE_S,
        begun: Callable[["_Handshake"], None] = lambda _: None,
    ) -> None:
        """``ended`` is called once after ``begun``, with the frames, or None after a failure."""
        self._begin, self._made, self._ended = begin, made, ended
        self._patience_s, self._begun = patience_s, begun
        self._received = bytearray()
        self._timer: asyncio.TimerHandle | None = None
        self.has_begun = False
        self._is_over = False

    def accepted(self, close: Callable[[], object]) -> None:
        """Count the connection, also before it is encrypted; ``close`` closes it until then."""
        self._close = close
        self._timer = asyncio.get_running_loop().call_later(self._patience_s, self.abort)
        self._begun(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.has_begun = True
        if self._timer is None:
            self.accepted(self._transport.abort)
        self._close = self._transport.abort
        if self._is_over:  # since it was accepted
            self._close()
            return
        _notice_silence(self._transport)
        self._steps = self._begin(self._transport.write)
        self._wanted = next(self._steps)

    def data_received(self, data: bytes) -> None:
        if self._is_over:
            return
        self._received += data
        try:
            while len(self._received) >= self._wanted and not self._is_over:
                piece = bytes(self._received[: self._wanted])
                del self._received[: self._wanted]
                self._wanted = self._steps.send(piece)
        except StopIteration as end:
            self._go_on(self._made(end.value))
        except HandshakeError:
            self.abort()

    def _go_on(self, frames: Frames) -> None:
        rest, self._received = bytes(self._received), bytearray()
        self._transport.set_protocol(frames)
        frames.connection_made(self._transport)
        self._finish(frames)
        if rest:
            frames.data_received(rest)

    def connection_lost(self, _: Exception | None) -> None:
        self._finish(None)

    def abort(self) -> None:
        """Close the connection at once."""
        self._close()
        self._finish(None)

    def _finish(self, frames: Frames | None) -> None:
        if not self._is_over:
            self._is_over = True
            if self._timer is not None:
                self._timer.cancel()
            self._ended(self, frames)


def _notice_silence(transport: asyncio.Transport) -> None:
    """Have a machine that has vanished noticed; one that goes on tells of its ends."""
    line = transport.get_extra_info("socket")
    options = {
        (socket.SOL_SOCKET, "SO_KEEPALIVE"): 1,
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE"): SILENT_S - 3,
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL"): 1,
        (socket.IPPROTO_TCP, "TCP_KEEPCNT"): 3,
        (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT"): SILENT_S * 1000,
    }
    for (level, name), value in options.items():
        if hasattr(socket, name):  # not every system has all of them
            line.setsockopt(level, getattr(socket, name), value)


async def connect(address: NetworkAddress, ping_s: float = PING_S) -> NetworkConnection:
    """Open a connection to an actor on another node.

    Raises:
        OSError: Nobody accepts there in time, or not with this key.
    """
    loop = asyncio.get_running_loop()
    opened: asyncio.Future[NetworkConnection] = loop.create_future()

    def ended(_: _Handshake, frames: Frames | None) -> None:
        if opened.done():
            return
        if isinstance(frames, NetworkConnection):
            opened.set_result(frames)
        else:
            opened.set_exception(HandshakeError("the handshake failed"))

    def greet(write: Callable[[bytes], None]) -> _Steps:
        return _greeting(address.key, write)

    async with asyncio.timeout(CONNECT_S):
        transport, _ = await loop.create_connection(
            lambda: _Handshake(greet, lambda seal: NetworkConnection(seal, ping_s), ended),
            address.host,
            address.port,
            ssl=tls_of_ray(os.environ, ssl.Purpose.SERVER_AUTH),
            server_hostname="" if is_tls_of_ray(os.environ) else None,
        )
        try:
            return await opened
        except BaseException:
            transport.abort()
            raise


class NetworkServer:
    """Answers the messages of actors on other nodes; listens from the first question for it on."""

    def __init__(self, serve: Serve, process: str, *, patience_s: float = HANDSHAKE_S) -> None:
        """Answer by ``serve``; errors call this process ``process``.

        Who has not proved the key within ``patience_s`` is cut off.
        """
        self._serve, self._process, self._patience_s = serve, process, patience_s
        self._key = secrets.token_bytes(KEY_BYTES)
        self._starting = asyncio.Lock()
        self._server: asyncio.Server | EncryptedListener | None = None
        self._port = 0
        self._handshakes: deque[_Handshake] = deque()
        self._answered: LRUCache[bytes, None] = LRUCache(MOST_GREETINGS)
        """The nonces of greetings: whoever reads the network could send one again."""
        self._refused = 0
        self._tells_s = 0.0

    async def address(self, host: str) -> NetworkAddress:
        """Return where this actor is reached, at the address ``host`` of its node.

        Raises:
            OSError: Nothing can listen there, or a certificate cannot be read.
        """
        async with self._starting:
            if self._server is None:
                await self._listen(host)
        return NetworkAddress(host, self._port, self._key)

    async def _listen(self, host: str) -> None:
        tls = tls_of_ray(os.environ, ssl.Purpose.CLIENT_AUTH)
        if tls is not None:
            encryption = Encryption(tls, self._patience_s)
            listener = await listening_socket(host)
            encrypted = EncryptedListener(listener, self._accept, encryption)
            self._server, self._port = encrypted, encrypted.port
            return
        loop = asyncio.get_running_loop()
        plain = await loop.create_server(self._accept, host, 0, backlog=MOST_NOT_ACCEPTED)
        self._server, self._port = plain, plain.sockets[0].getsockname()[1]

    def _accept(self) -> _Handshake:
        return _Handshake(
            self._begin, self._frames, self._ended, self._patience_s, self._count_handshake
        )

    def _count_handshake(self, handshake: _Handshake) -> None:
        if len(self._handshakes) >= MOST_HANDSHAKES:
            self._handshakes[0].abort()
        self._handshakes.append(handshake)

    def _begin(self, write: Callable[[bytes], None]) -> _Steps:
        return _accepting(self._key, write, self._answered)

    def _frames(self, seal: Seal) -> Frames:
        return ServerConnection(self._serve, self._process, seal)

    def _ended(self, handshake: _Handshake, frames: Frames | None) -> None:
        self._handshakes.remove(handshake)
        if frames is None:
            self._tell_of_refusals()

    def _tell_of_refusals(self) -> None:
        """Log them, at most once in a while: whoever reaches the port may cause many."""
        self._refused += 1
        now_s = asyncio.get_running_loop().time()
        if now_s >= self._tells_s:
            log.warning("handshakes_refused", extra={"actor": self._process, "n": self._refused})
            self._refused, self._tells_s = 0, now_s + TELL_S

    def close(self) -> None:
        """Accept no new connections."""
        if self._server is not None:
            self._server.close()
