"""Between nodes an actor answers who has its key, and tells nobody else anything."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from rillflow.actors.connections.frames import MOST_FRAME_BYTES, Seal
from rillflow.actors.connections.network import (
    MAGIC,
    MOST_HANDSHAKES,
    MOST_PINGS,
    NONCE_BYTES,
    PROOF_BYTES,
    NetworkConnection,
    NetworkServer,
    connect,
)
from rillflow.actors.connections.sockets import ASK_ADDRESS, RUN_DIR, SocketServer
from rillflow.errors import StoreError
from rillflow.ports.deployment import PROTOCOL
from rillflow.ports.messages import NetworkAddress, decode_network_address
from tests.certificates import certificate

HERE: Final = "127.0.0.1"
WITHIN_S: Final = 60.0
PING_S: Final = 0.05
HELLO_BYTES: Final = len(MAGIC) + NONCE_BYTES + PROOF_BYTES
PIECE_BYTES: Final = 65_536
ACCEPT_BYTES: Final = NONCE_BYTES + PROOF_BYTES
Change = Callable[[bytes], bytes]


class Actor:
    """Answers in capitals, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    def answer(self, message: bytes) -> bytes:
        self.asked.append(message)
        return message.upper()


@asynccontextmanager
async def listening(
    actor: Actor | None = None, *, patience_s: float = WITHIN_S
) -> AsyncIterator[NetworkAddress]:
    server = NetworkServer((actor or Actor()).answer, "owner:0", patience_s=patience_s)
    try:
        async with asyncio.timeout(WITHIN_S):
            yield await server.address(HERE)
    finally:
        server.close()


Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handle: Handle) -> AsyncIterator[int]:
    """Have each connection to the port handled; at the end all are closed."""
    writers: list[asyncio.StreamWriter] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await handle(reader, writer)
        writer.close()

    server = await asyncio.start_server(accept, HERE, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            await closed(writer)


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def ended(reader: asyncio.StreamReader) -> bool:
    """Wait until a connection ends, on which nothing comes."""
    try:
        return await reader.read() == b""
    except ConnectionResetError:
        return True


async def all_told_to(address: NetworkAddress, sent: bytes) -> bytes:
    """Send bytes, and return what comes until the connection ends."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(sent)
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        await closed(writer)


async def test_who_has_the_key_is_answered_whatever_the_size() -> None:
    async with listening() as address:
        connection = await connect(address)
        messages = [b"x" * size for size in (0, 1, 65_535, 65_536, 65_537, 3_000_000)] * 3
        answers = await asyncio.gather(*map(connection.call, messages))
        assert answers == [each.upper() for each in messages]
        connection.close()


async def test_errors_are_what_they_are_on_one_node() -> None:
    def refuse(_: bytes) -> bytes:
        raise StoreError("the disk is full")

    server = NetworkServer(refuse, "owner:0")
    connection = await connect(await server.address(HERE))
    with pytest.raises(StoreError, match="the disk is full"):
        await connection.call(b"ping")
    connection.close()
    server.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"x" * HELLO_BYTES,
        MAGIC + b"x" * (HELLO_BYTES - len(MAGIC)),
        MAGIC.replace(b"1", b"2") + b"x" * (HELLO_BYTES - len(MAGIC)),
        b"GET /flow/trigger.json HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n" + b"x" * 100,
        bytes(13) + b"x" * 1_000_000,
    ],
    ids=["noise", "no proof", "another version", "HTTP", "frames"],
)
async def test_who_has_not_gets_not_a_byte(sent: bytes) -> None:
    actor = Actor()
    async with listening(actor) as address:
        assert await all_told_to(address, sent) == b""
    assert not actor.asked


async def test_another_key_is_refused_at_once() -> None:
    actor = Actor()
    async with listening(actor) as address:
        other = NetworkAddress(address.host, address.port, os.urandom(len(address.key)))
        with pytest.raises(ConnectionError):
            await connect(other)
    assert not actor.asked


async def test_an_actor_that_has_not_the_key_is_sent_no_message() -> None:
    received = bytearray()

    async def pose(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.extend(await reader.readexactly(HELLO_BYTES))
        writer.write(os.urandom(ACCEPT_BYTES))
        received.extend(await reader.read())

    async with serving(pose) as port:
        with pytest.raises(ConnectionError):
            await connect(NetworkAddress(HERE, port, os.urandom(32)))
    assert len(received) <= HELLO_BYTES


async def test_who_says_nothing_is_cut_off() -> None:
    async with listening(patience_s=0.01) as address:
        assert await all_told_to(address, b"") == b""
        assert await all_told_to(address, MAGIC) == b""


async def test_many_who_say_nothing_keep_nobody_out() -> None:
    async with listening() as address:
        silent = [
            await asyncio.open_connection(address.host, address.port)
            for _ in range(2 * MOST_HANDSHAKES)
        ]
        connection = await connect(address)
        assert await connection.call(b"ping") == b"PING"
        for reader, _ in silent[:MOST_HANDSHAKES]:
            assert await reader.read() == b""
        connection.close()
        for _, writer in silent:
            await closed(writer)


class Relay:
    """Carries a connection to an actor, changing what its client sends, and keeps that."""

    def __init__(self, to: NetworkAddress, change: Change) -> None:
        self._to, self._change = to, change
        self.carried = bytearray()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[NetworkAddress]:
        async with serving(self._carry) as port:
            yield NetworkAddress(HERE, port, self._to.key)

    async def _carry(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        far, onwards = await asyncio.open_connection(self._to.host, self._to.port)
        try:
            await asyncio.gather(self._there(near, onwards), pump(far, back))
        finally:
            await closed(onwards)

    async def _there(self, near: asyncio.StreamReader, onwards: asyncio.StreamWriter) -> None:
        for size in (HELLO_BYTES, PROOF_BYTES):
            self._keep(await near.readexactly(size), onwards)
        while data := await near.read(PIECE_BYTES):
            self._keep(data, onwards, self._change)
        onwards.close()

    def _keep(
        self, data: bytes, onwards: asyncio.StreamWriter, change: Change = lambda data: data
    ) -> None:
        self.carried += data
        onwards.write(change(data))


async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await source.read(PIECE_BYTES):
            sink.write(data)
    sink.close()


def _flip(position: int) -> Change:
    return lambda data: bytes(
        byte ^ (index == position % len(data)) for index, byte in enumerate(data)
    )


@pytest.mark.parametrize(
    ("change", "heard"),
    [
        (_flip(0), 0),
        (_flip(12), 0),
        (_flip(13), 0),
        (_flip(-1), 0),
        (lambda data: data * 2, 1),
        (lambda data: b"x" * 40 + data, 0),
    ],
    ids=["length", "kind", "tag", "payload", "sent twice", "put before"],
)
async def test_what_was_changed_on_the_way_is_not_answered_and_ends_the_connection(
    change: Change, heard: int
) -> None:
    actor = Actor()
    async with listening(actor) as address, Relay(address, change).open() as changed:
        connection = await connect(changed, ping_s=PING_S)
        call = asyncio.create_task(connection.call(b"ping"))
        if heard:  # the first one came as it was
            assert await call == b"PING"
            call = asyncio.create_task(connection.call(b"again"))
        with pytest.raises(ConnectionError):
            await call
    assert len(actor.asked) == heard


async def test_what_was_recorded_is_not_taken_again() -> None:
    actor = Actor()
    async with listening(actor) as address:
        relay = Relay(address, lambda data: data)
        async with relay.open() as recorded:
            connection = await connect(recorded)
            assert await connection.call(b"ping") == b"PING"
            connection.close()
        assert await all_told_to(address, bytes(relay.carried)) == b""
        other = await connect(address)
        assert await other.call(b"again") == b"AGAIN"
        other.close()
    assert actor.asked == [b"ping", b"again"]


async def test_a_frame_that_is_too_long_is_not_waited_for() -> None:
    actor = Actor()
    head = (MOST_FRAME_BYTES + 1).to_bytes(4, "big") + bytes(8) + bytes([PROTOCOL << 2])
    async with (
        listening(actor) as address,
        Relay(address, lambda _: head + bytes(16)).open() as changed,
    ):
        connection = await connect(changed)
        with pytest.raises(ConnectionError):
            await connection.call(b"ping")
    assert not actor.asked


async def test_a_seal_fits_each_frame_once_and_in_one_direction() -> None:
    a, b = Seal(b"there" * 6, b"back" * 6), Seal(b"back" * 6, b"there" * 6)
    head, payload = b"head", b"payload"

    def fits(seal: Seal, tag: bytes) -> bool:
        return seal.fits(memoryview(head), memoryview(tag), memoryview(payload))

    first, second = a.tag(head, payload), a.tag(head, payload)
    assert first != second
    assert fits(b, first)
    assert not fits(b, first)
    assert not fits(a, second)


class SlowTransport(asyncio.Transport):
    """Sends a large message bit by bit, for as long as ``leaves`` says; nothing is answered."""

    def __init__(self) -> None:
        super().__init__()
        self.leaves = True
        self.looks = 0
        self.is_looked_at = asyncio.Event()
        self.unsent_bytes = 1 << 30
        self.is_aborted = asyncio.Event()

    def get_write_buffer_size(self) -> int:
        """Return how much is to be sent; some has left since it was asked before."""
        self.looks += 1
        if self.looks == 4 * MOST_PINGS:
            self.is_looked_at.set()
        self.unsent_bytes -= self.leaves
        return self.unsent_bytes

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Put something behind the message."""

    def is_closing(self) -> bool:
        """Tell whether it was aborted."""
        return self.is_aborted.is_set()

    def abort(self) -> None:
        """End the connection."""
        self.is_aborted.set()


async def test_a_message_that_takes_long_to_send_is_not_cut_while_any_of_it_leaves() -> None:
    transport = SlowTransport()
    connection = NetworkConnection(Seal(b"there" * 6, b"back" * 6), ping_s=0.001)
    connection.connection_made(transport)
    async with asyncio.timeout(WITHIN_S):
        ends = [asyncio.create_task(transport.is_aborted.wait())]
        ends.append(asyncio.create_task(transport.is_looked_at.wait()))
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        assert not transport.is_aborted.is_set()
        transport.leaves = False
        await transport.is_aborted.wait()
    connection.connection_lost(None)
    await asyncio.gather(*ends)


async def test_a_machine_that_answers_nothing_any_more_is_given_up() -> None:
    """It goes on to confirm what it receives, as the kernel of a stopped process does."""
    is_stopped = asyncio.Event()

    pinged = asyncio.Semaphore(0)

    async def carry(near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        far, onwards = await asyncio.open_connection(address.host, address.port)

        async def questions() -> None:
            while data := await near.read(PIECE_BYTES):
                onwards.write(data)
                pinged.release()

        async def answers() -> None:
            while data := await far.read(PIECE_BYTES):
                if not is_stopped.is_set():
                    back.write(data)

        try:
            await asyncio.gather(questions(), answers())
        finally:
            await closed(onwards)

    async with listening() as address, serving(carry) as port:
        connection = await connect(NetworkAddress(HERE, port, address.key), ping_s=PING_S)
        for _ in range(3 * MOST_PINGS):  # two are of the handshake
            await pinged.acquire()
        assert await connection.call(b"ping") == b"PING"
        is_stopped.set()
        with pytest.raises(ConnectionError):
            await connection.call(b"ping")


async def test_connections_are_encrypted_where_ray_encrypts_its_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = certificate(tmp_path, "authority")
    node = certificate(tmp_path, "node", issuer=authority)
    other = certificate(tmp_path, "other")
    monkeypatch.setenv("RAY_USE_TLS", "1")
    monkeypatch.setenv("RAY_TLS_CA_CERT", str(authority.certificate))
    monkeypatch.setenv("RAY_TLS_SERVER_CERT", str(node.certificate))
    monkeypatch.setenv("RAY_TLS_SERVER_KEY", str(node.key))
    async with listening() as address:
        relay = Relay(address, lambda data: data)
        async with relay.open() as relayed:
            connection = await connect(relayed)
            assert await connection.call(b"in the clear") == b"IN THE CLEAR"
            connection.close()
        assert len(relay.carried) > HELLO_BYTES + PROOF_BYTES
        assert MAGIC not in relay.carried
        assert b"in the clear" not in relay.carried
        monkeypatch.setenv("RAY_TLS_SERVER_CERT", str(other.certificate))
        monkeypatch.setenv("RAY_TLS_SERVER_KEY", str(other.key))
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await connect(address)
        silent = [
            await asyncio.open_connection(address.host, address.port)
            for _ in range(2 * MOST_HANDSHAKES)
        ]
        for reader, _ in silent[:MOST_HANDSHAKES]:  # of which none gets through TLS
            assert await ended(reader)
        monkeypatch.setenv("RAY_TLS_SERVER_CERT", str(node.certificate))
        monkeypatch.setenv("RAY_TLS_SERVER_KEY", str(node.key))
        connection = await connect(address)
        assert await connection.call(b"still here") == b"STILL HERE"
        connection.close()
        for _, writer in silent:
            await closed(writer)


def test_the_key_is_in_no_text_of_an_address() -> None:
    address = NetworkAddress("10.0.0.1", 7, b"secret")
    assert repr(address) == str(address) == "NetworkAddress(10.0.0.1:7)"


async def _ask_over_ray(server: SocketServer) -> NetworkAddress | None:
    _, _, answer = await server.exchange(PROTOCOL, ASK_ADDRESS)
    return decode_network_address(answer)


async def test_nothing_listens_on_the_network_where_the_stack_is_of_one_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RUN_DIR, str(tmp_path))
    server = SocketServer(Actor().answer, "owner:0")
    assert await _ask_over_ray(server) is None
    server.close()


async def test_the_key_is_told_over_ray_only() -> None:
    actor = Actor()
    async with listening(actor) as address:
        connection = await connect(address)
        assert await connection.call(ASK_ADDRESS) == ASK_ADDRESS.upper()
        connection.close()
