"""One HTTP/1.1 connection: a request goes out in one piece, llhttp reads the answer.

A connection is used by one call at a time. What comes unasked ends it: answers that
belong to no request would be taken for those of the next one.
"""

import asyncio
import errno
import select
from collections.abc import Callable
from typing import Final, TypeAlias, cast

import httptools

from rillflow.errors import BrokenExchangeError, GatewayError
from rillflow.gateways.messages.exchange import FAILS, Reply

Room: TypeAlias = Callable[[int], "asyncio.Future[None] | None"]
"""Takes room for so many bytes; None when it is there, else what is done once it is."""

HEAD_BYTES: Final = 64 * 1024
"""What an answer may have of headers, and of bytes that bring its body no further."""

PACKAGING_PER_BYTE: Final = 8
"""Beside that, bytes on the wire for each byte of the body; a chunk of one byte takes six."""
SMALL_BYTES: Final = 64 * 1024
"""Answers up to this size are read without room."""
_MOST_DIGITS: Final = 19
"""Of a length that is worth reading."""
_JOINED_BYTES: Final = 64 * 1024
"""A body up to this size is worth copying, so that it leaves with its head."""
_LEAST_HEAD: Final = len(b"HTTP/1.1 100\r\n\r\n")
_SWITCHED: Final = 101
_RESETS: Final = frozenset({errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED})
_USED: Final = {
    name.encode(): name
    for name in (
        "content-encoding",
        "content-length",
        "content-type",
        "location",
        "retry-after",
        "transfer-encoding",
    )
}
"""The headers that anybody reads."""

_NOT_HTTP: Final = "the answer is not HTTP"
_CLOSED: Final = "the connection was closed before an answer"
_BROKE_OFF: Final = "the answer broke off"
_MOSTLY_PACKAGING: Final = (
    f"its chunks are more than {PACKAGING_PER_BYTE} times as long as the answer"
)


class HttpConnection(asyncio.Protocol):
    """A connection to an origin, and the answer that is being read from it.

    Attributes:
        origin: What it is connected to, by which the pool finds it.
        is_open: Whether it can carry a request.
        idle_until_s: When the pool lets it go, by the loop's clock.
    """

    __slots__ = (
        "_body",
        "_head_bytes",
        "_headers",
        "_idle_bytes",
        "_in_head",
        "_is_head",
        "_is_kept",
        "_left",
        "_lost",
        "_most_bytes",
        "_parser",
        "_poll",
        "_reason",
        "_room",
        "_room_at",
        "_transport",
        "_waiter",
        "_waits_for_room",
        "_wire_bytes",
        "idle_until_s",
        "is_open",
        "origin",
    )

    _transport: asyncio.Transport

    def __init__(self, origin: str, lost: Callable[["HttpConnection"], None]) -> None:
        self.origin = origin
        self.is_open = False
        self.idle_until_s = 0.0
        self._lost = lost
        self._parser = httptools.HttpResponseParser(self)
        # Home-made servers end lines as they like; what they say stays on this connection.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True,
            lenient_optional_cr_before_lf=True,
            lenient_spaces_after_chunk_size=True,
        )
        self._waiter: asyncio.Future[Reply] | None = None
        self._waits_for_room: asyncio.Future[None] | None = None
        self._is_kept = False
        self._poll: select.poll | None = None

    @property
    def is_free(self) -> bool:
        """Whether another call may use it: it is open, and its last answer is complete."""
        return self.is_open and self._is_kept and self._waiter is None

    def ask(
        self,
        head: bytes,
        body: bytes | None,
        *,
        is_head: bool,
        most_bytes: int,
        room: Room | None = None,
    ) -> "asyncio.Future[Reply]":
        """Send a request; the future is its answer, with the headers that anybody reads.

        Args:
            head: Request line and headers, with the empty line.
            body: What follows.
            is_head: Whether the verb is HEAD, whose answers have no body.
            most_bytes: How large the body of the answer may be.
            room: Where the answer takes room once it is no longer small; until it has some,
                nothing more is read.

        Raises (the future):
            BrokenExchangeError: There is no whole answer.
            GatewayError: It is too large.
        """
        waiter = self._waiter = asyncio.get_running_loop().create_future()
        self._is_head, self._most_bytes, self._left = is_head, most_bytes, most_bytes
        self._room, self._room_at = room, -1 if room is None else most_bytes - SMALL_BYTES
        self._in_head = True
        self._is_kept = False
        self._head_bytes = self._idle_bytes = self._wire_bytes = 0
        self._headers: dict[str, str] = {}
        self._reason = b""
        self._body: bytes | bytearray = b""
        if not self.is_open:
            self._ended(None)
        elif not body:
            self._transport.write(head)
        elif len(body) <= _JOINED_BYTES:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._transport.write(body)
        return waiter

    def is_quiet(self) -> bool:
        """Ask the system whether the other side has said or ended anything since the answer.

        The loop may not have come to it yet, and a request would be sent in vain.
        """
        return self.is_free and (self._poll is None or not self._poll.poll(0))

    def close(self) -> None:
        """End the connection at once, whatever is under way."""
        self._waiter = None
        self._read_on()
        if self.is_open:
            self.is_open = False
            self._transport.abort()

    # -- called by the loop --------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True
        connection = transport.get_extra_info("socket")
        if connection is not None:
            self._poll = select.poll()
            self._poll.register(connection.fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        """Read on."""
        if self._waiter is None:
            self.close()
            return
        left = self._left
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._is_kept = False
        except httptools.HttpParserError:
            self._is_kept = False
            self._fail(BrokenExchangeError(_NOT_HTTP))
        self._wire_bytes += len(data)
        if self._left != left:
            self._idle_bytes = 0
            body_bytes = self._most_bytes - self._left
            if self._wire_bytes > HEAD_BYTES * 2 + body_bytes * PACKAGING_PER_BYTE:
                self._fail(BrokenExchangeError(_MOSTLY_PACKAGING))
            return
        self._idle_bytes += len(data)
        if self._idle_bytes > HEAD_BYTES:
            self._fail(BrokenExchangeError(_too_long()))

    def eof_received(self) -> bool:
        """Take the end of what the other side says."""
        self._ended(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the end of the connection."""
        self._ended(exc)
        self.is_open = False
        self._poll = None
        del self._parser  # it holds this object's methods
        self._lost(self)

    # -- called by the parser ------------------------------------------------------

    def on_message_begin(self) -> None:
        """Begin an answer; one that nobody has asked for ends the connection."""
        self._is_kept = False
        self._head_bytes += _LEAST_HEAD

    def on_status(self, reason: bytes) -> None:
        """Take a piece of the words beside the status."""
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer, which counts and is not looked at."""
        self._head_bytes += len(name) + len(value)
        known = _USED.get(name.lower())
        if known is not None and self._in_head and self._waiter is not None:
            text = value.decode(errors="replace")
            if known == "transfer-encoding" and known in self._headers:
                text = f"{self._headers[known]}, {text}"
            self._headers.setdefault(known, text)
            if known == "transfer-encoding":
                self._headers[known] = text

    def on_headers_complete(self) -> None:
        """Look at the head as a whole."""
        if self._head_bytes > HEAD_BYTES:
            self._fail(BrokenExchangeError(_too_long()))
        elif self._waiter is not None and not self._is_interim():
            self._in_head = False
            self._is_kept = not self._is_head and self._parser.should_keep_alive()
            if self._is_head:
                self._complete()

    def on_body(self, piece: bytes) -> None:
        """Take a piece of the body, without its packaging in chunks."""
        if self._waiter is None:
            self._is_kept = False
            return
        self._left -= len(piece)
        if self._left < 0:
            self._fail(GatewayError(f"{FAILS}the answer is larger than {self._most_bytes} bytes"))
            return
        # Joined as it comes: millions of small pieces would take fifty times their bytes.
        if not self._body:
            self._body = piece
        else:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += piece
        if self._left < self._room_at:
            self._take_room()

    def on_message_complete(self) -> None:
        """End an answer; one of 1xx only announces the answer."""
        if self._waiter is None:
            return
        if self._in_head:
            self._headers.clear()
            self._reason = b""
            return
        self._complete()

    # ------------------------------------------------------------------------------

    def _take_room(self) -> None:
        """Take room for all that the answer may become, and read no more until there is some."""
        self._room_at = -1
        size = self._most_bytes
        told = self._headers.get("content-length", "")
        if told.isdecimal() and len(told) < _MOST_DIGITS:
            size = min(size, int(told))
        if "content-encoding" in self._headers:
            size += self._most_bytes
        waits = self._room(size) if self._room is not None else None
        if waits is not None:
            self._waits_for_room = waits
            self._transport.pause_reading()
            waits.add_done_callback(self._have_room)

    def _have_room(self, waits: "asyncio.Future[None]") -> None:
        if waits is self._waits_for_room:
            self._read_on()

    def _read_on(self) -> None:
        """Read again, whether there is room or none is needed any more."""
        waits, self._waits_for_room = self._waits_for_room, None
        if waits is not None:
            waits.cancel()
            if self.is_open:
                self._transport.resume_reading()

    def _is_interim(self) -> bool:
        status: int = self._parser.get_status_code()
        return status < 200 and status != _SWITCHED

    def _complete(self) -> None:
        self._read_on()
        waiter, self._waiter = self._waiter, None
        status = self._parser.get_status_code()
        # An answer to a request that was not read to its end, or to another protocol.
        if status == _SWITCHED or self._transport.get_write_buffer_size():
            self._is_kept = False
        if waiter is None or waiter.done():
            return
        body, self._body = bytes(self._body), b""
        reason = self._reason.decode(errors="replace")
        waiter.set_result(Reply(status, reason, self._headers, body))

    def _fail(self, error: Exception) -> None:
        # The rest of the answer may come yet, and would be taken for the next one's.
        self._is_kept = False
        self._read_on()
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)

    def _ended(self, error: Exception | None) -> None:
        """Settle what the end of the connection means for the answer."""
        self._is_kept = False
        if self._waiter is None:
            return
        if error is None and not self._in_head and self._ends_with_connection():
            self._complete()
        elif isinstance(error, OSError) and error.errno in _RESETS:
            self._fail(BrokenExchangeError("the connection was reset"))
        elif error is not None:
            self._fail(BrokenExchangeError(str(error) or type(error).__name__))
        else:
            self._fail(BrokenExchangeError(_CLOSED if self._in_head else _BROKE_OFF))

    def _ends_with_connection(self) -> bool:
        chunked = "chunked" in self._headers.get("transfer-encoding", "").lower()
        return not chunked and "content-length" not in self._headers


def _too_long() -> str:
    return f"the headers of the answer are longer than {HEAD_BYTES} bytes"
