"""Who reaches a port of Ray without its token: what he sends, and what becomes of it."""

import select
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from tests.certificates import Pair

PATIENCE_S: Final = 2.0
GREETING: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
SYNC: Final = "/ray.rpc.syncer.RaySyncer/StartSync"
PUT: Final = "/ray.rpc.InternalKVGcsService/InternalKVPut"
DATA, HEADERS, SETTINGS, WINDOW = 0, 1, 4, 8
"""Kinds of frames of HTTP/2."""
ACKNOWLEDGED: Final = 1
HEAD_BYTES: Final = 9
FRAME_BYTES: Final = 16_384
FIRST_WINDOW: Final = 65_535
ANNOUNCED_BYTES: Final = 480 << 20


def begins_a_sync(port: int, pair: Pair | None = None, *, tls: bool = False) -> str:
    """Begin the call that Ray handles before it asks for a token, without what it needs.

    Args:
        port: Of loopback.
        pair: The certificate to show, if any.
        tls: Whether to encrypt.

    Returns:
        ``handled`` if something was answered that a server of gRPC answers, else ``refused``.
    """
    content = GREETING + _frame(HEADERS, 4, 1, _headers(SYNC))
    try:
        with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as line:
            said = _encrypted_answer(line, pair, content) if tls else _answer(line, content)
    except OSError:
        return "refused"
    return "handled" if len(said) > 3 and said[3] == SETTINGS else "refused"


def _answer(line: socket.socket, content: bytes) -> bytes:
    line.sendall(content)
    return line.recv(HEAD_BYTES)


def _encrypted_answer(line: socket.socket, pair: Pair | None, content: bytes) -> bytes:
    """Encrypt in memory: a socket that ``ssl`` wraps is left open where its peer has ended it."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    if pair is not None:
        context.load_cert_chain(pair.certificate, pair.key)
    received, to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
    end = context.wrap_bio(received, to_send)
    steps: tuple[Callable[[], object], ...] = (
        end.do_handshake,
        lambda: end.write(content),
        lambda: end.read(HEAD_BYTES),
    )
    done: object = None
    for step in steps:
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                line.sendall(to_send.read())
                received.write(_received(line))
            else:
                break
        line.sendall(to_send.read())
    return done if isinstance(done, bytes) else b""


def _received(line: socket.socket) -> bytes:
    """Return what has come.

    Raises:
        ConnectionError: Nothing will.
    """
    content = line.recv(FRAME_BYTES)
    if not content:
        raise ConnectionError("it was ended")
    return content


@contextmanager
def half_messages(port: int, count: int, size: int) -> Iterator[int]:
    """Hold connections that have sent ``size`` bytes of a longer message; yield all bytes sent."""
    with ExitStack() as lines:
        yield sum(_sent(lines, port, size) for _ in range(count))


def _sent(lines: ExitStack, port: int, size: int) -> int:
    line = lines.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE_S))
    try:
        line.sendall(GREETING + _frame(HEADERS, 4, 1, _headers(PUT)))
        return _fill(line, size)
    except OSError:
        return 0


def _fill(line: socket.socket, size: int) -> int:
    """Send what the server lets, until it ends the connection or lets nothing more."""
    content = b"\0" + struct.pack(">I", ANNOUNCED_BYTES)
    sent, room = 0, [FIRST_WINDOW, FIRST_WINDOW]
    received = bytearray()
    while sent < size:
        count = min(FRAME_BYTES, size - sent, *room)
        if count > len(content):
            line.sendall(_frame(DATA, 0, 1, content.ljust(count, b"\0")))
            content, sent = b"", sent + count
            room = [each - count for each in room]
        wait_s = 0 if min(room) > FRAME_BYTES else PATIENCE_S
        if select.select([line], [], [], wait_s)[0]:
            if not (more := line.recv(FRAME_BYTES)):
                return sent
            received += more
            _read_frames(line, received, room)
        elif wait_s:
            return sent
    return sent


def _read_frames(line: socket.socket, received: bytearray, room: list[int]) -> None:
    """Take whole frames off what was received, and heed how much more may be sent."""
    while len(received) >= HEAD_BYTES:
        end = HEAD_BYTES + int.from_bytes(received[:3], "big")
        if len(received) < end:
            return
        kind, flags, content = received[3], received[4], bytes(received[HEAD_BYTES:end])
        stream = int.from_bytes(received[5:HEAD_BYTES], "big")
        del received[:end]
        if kind == WINDOW:
            room[stream != 0] += int.from_bytes(content, "big")
        elif kind == SETTINGS and not flags & ACKNOWLEDGED:
            for name, number in struct.iter_unpack(">HI", content):
                room[1] += number - FIRST_WINDOW if name == SETTINGS else 0
            line.sendall(_frame(SETTINGS, ACKNOWLEDGED, 0, b""))


def _frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    return struct.pack(">IBBI", len(content), kind, flags, stream)[1:] + content


def _headers(path: str) -> bytes:
    """Return the headers of a call as HPACK has them that no table shortens."""
    named = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "ray",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    texts = (each.encode() for pair in named.items() for each in pair)
    coded = [bytes([len(each)]) + each for each in texts]
    return b"".join(b"\0" + name + value for name, value in zip(*[iter(coded)] * 2, strict=True))
