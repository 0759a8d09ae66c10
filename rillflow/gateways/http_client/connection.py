"""One HTTP/1.1 connection: a request is written in one piece, llhttp parses the response.

One call at a time uses a connection. Unexpected data closes it, because they would be taken for the
response of the next request. What comes after the next request was sent cannot be told from its
response, so a connection is used by one workspace only.

Used by `gateways/http_client/pool.py`.
"""

import asyncio
import errno
import select
from collections.abc import Callable
from typing import Final, TypeAlias, cast

import httptools

from rillflow.errors import BrokenExchangeError, GatewayError
from rillflow.gateways.http_client.parse_queue import ParseQueue
from rillflow.gateways.outbound.exchange import FAILS, Reply

Room: TypeAlias = Callable[[int], "asyncio.Future[None] | None"]
"""Takes room for so many bytes; returns None, or a future if it has to wait."""
KeptFor: TypeAlias = tuple[str, str]
"""An origin, and a workspace."""

HEAD_BYTES: Final = 64 * 1024
"""Limit of a response's headers, and of bytes that add nothing to its body."""

PACKAGING_PER_BYTE: Final = 0.5
"""Limit of the bytes of chunk frames for each byte of the body, besides that: parsing takes time
for each chunk, and chunks of less than ten bytes on average would exceed it."""
DIRECT_BYTES: Final = 1024
"""Data up to this length are parsed at once; longer ones in the share of a turn of the loop."""
_PIECE_BYTES: Final = 8 * 1024
"""Parsing so many bytes takes less than a millisecond, whatever they are."""
SMALL_BYTES: Final = 64 * 1024
"""Responses up to this size are read without room."""
_MOST_MORE_BYTES: Final = 1024 * 1024
"""The most for which room is taken at once."""
_MOST_DIGITS: Final = 19
"""The number of digits of a length that is parsed."""
_JOINED_BYTES: Final = 64 * 1024
"""A body up to this size is copied, so that it is written together with its head."""
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
"""The headers that the gateway reads."""

_NOT_HTTP: Final = "the answer is not HTTP"
_CLOSED: Final = "the connection was closed before an answer"
_BROKE_OFF: Final = "the answer broke off"
_MOSTLY_PACKAGING: Final = (
    f"its chunks have more than {PACKAGING_PER_BYTE} bytes of packaging for each of the answer"
)


class HttpConnection(asyncio.Protocol):
    """A connection to an origin, and the response that is being read from it.

    Attributes:
        kept_for: The origin that it is connected to, and the workspace whose calls use it, by which
            the pool finds it.
        peer: The IP address that it is connected to.
        is_open: Whether it can carry a request.
        idle_until_s: When the pool closes it, by the loop's clock.
    """

    __slots__ = (
        "_body",
        "_has_ended",
        "_head_bytes",
        "_headers",
        "_idle_bytes",
        "_in_head",
        "_is_head",
        "_is_kept",
        "_is_paused",
        "_left",
        "_lost",
        "_most_bytes",
        "_parser",
        "_poll",
        "_queue",
        "_reason",
        "_room",
        "_room_at",
        "_transport",
        "_unparsed",
        "_waiter",
        "_waits_for_room",
        "_wire_bytes",
        "idle_until_s",
        "is_open",
        "kept_for",
        "peer",
    )

    _transport: asyncio.Transport

    def __init__(
        self,
        kept_for: KeptFor,
        peer: str,
        queue: ParseQueue,
        lost: Callable[["HttpConnection"], None],
    ) -> None:
        self.kept_for = kept_for
        self.peer = peer
        self._queue = queue
        self._unparsed = bytearray()
        self._is_paused = self._has_ended = False
        self.is_open = False
        self.idle_until_s = 0.0
        self._lost = lost
        self._waiter: asyncio.Future[Reply] | None = None
        self._waits_for_room: asyncio.Future[None] | None = None
        self._is_kept = False
        self._poll: select.poll | None = None

    @property
    def is_free(self) -> bool:
        """Whether another call may use it: it is open, and its last response is complete."""
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
        """Send a request; the future is its response, with the headers that the gateway reads.

        Args:
            head: Request line and headers, with the empty line.
            body: What follows.
            is_head: Whether the verb is HEAD, whose responses have no body.
            most_bytes: Limit of the response's body.
            room: Takes room for a response that is not small; without room, nothing more
                is read.

        Raises (the future):
            BrokenExchangeError: The response is incomplete.
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
        """Ask the system whether the peer has sent data, or closed, since the last response.

        The event loop may not have seen it yet, and a request would be sent in vain.
        """
        return self.is_free and (self._poll is None or not self._poll.poll(0))

    def close(self) -> None:
        """Close the connection at once, whatever is under way."""
        self._waiter = None
        self._unparsed.clear()
        self._read_on()
        if self.is_open:
            self.is_open = False
            self._transport.abort()
        elif self._has_ended:
            self._let_go()

    # -- called by the loop --------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; a connection that is refused has no parser, whose callbacks refer to it."""
        self._parser = httptools.HttpResponseParser(self)
        # Simple servers end lines in various ways; the effect is limited to this connection.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True,
            lenient_optional_cr_before_lf=True,
            lenient_spaces_after_chunk_size=True,
        )
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True
        connection = transport.get_extra_info("socket")
        if connection is not None:
            self._poll = select.poll()
            self._poll.register(connection.fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        """Parse received data: a few at once, more of them in the connection's share of a turn."""
        if self._waiter is None:
            self.close()
        elif len(data) > DIRECT_BYTES or self._unparsed:
            self._parse_in_turn(data)
        else:
            self._parse(data)

    def parse_some(self) -> bool:
        """Parse a piece; return whether there is more that can be parsed now."""
        unparsed = self._unparsed
        if self._waiter is not None:
            piece = bytes(unparsed[:_PIECE_BYTES])
            del unparsed[:_PIECE_BYTES]
            self._parse(piece)
        if self._waiter is None and unparsed:
            # Like all data without a request: they would be taken for the next response.
            self._is_kept = False
            unparsed.clear()
        if unparsed:
            return self._waits_for_room is None
        self._go_on()
        if self._has_ended:
            self._ended(None)
            self._let_go()
        return False

    def _parse_in_turn(self, data: bytes) -> None:
        is_first = not self._unparsed
        self._unparsed += data
        if is_first and self._waits_for_room is None:
            self._queue.received(self)
        if self._unparsed:
            self._pause()

    def _parse(self, data: bytes) -> None:
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
            if self._wire_bytes - body_bytes > HEAD_BYTES * 2 + body_bytes * PACKAGING_PER_BYTE:
                self._fail(BrokenExchangeError(_MOSTLY_PACKAGING))
            return
        self._idle_bytes += len(data)
        if self._idle_bytes > HEAD_BYTES:
            self._fail(BrokenExchangeError(_too_long()))

    def eof_received(self) -> bool:
        """Handle the end of the peer's data."""
        if not self._unparsed:
            self._ended(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Handle the end of the connection; what it has brought before is parsed first."""
        self.is_open = False
        self._poll = None
        if exc is None and self._unparsed and self._waiter is not None:
            self._has_ended = True
            return
        self._unparsed.clear()
        self._ended(exc)
        self._let_go()

    # -- called by the parser ------------------------------------------------------

    def on_message_begin(self) -> None:
        """Begin a response; one without a request closes the connection."""
        self._is_kept = False
        self._head_bytes += _LEAST_HEAD

    def on_status(self, reason: bytes) -> None:
        """Collect the reason phrase."""
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header; a trailer is counted and ignored."""
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
        """Check the complete head."""
        if self._head_bytes > HEAD_BYTES:
            self._fail(BrokenExchangeError(_too_long()))
        elif self._waiter is not None and not self._is_interim():
            self._in_head = False
            self._is_kept = not self._is_head and self._parser.should_keep_alive()
            if self._is_head:
                self._complete()

    def on_body(self, piece: bytes) -> None:
        """Collect a piece of the body, without chunk framing."""
        if self._waiter is None:
            self._is_kept = False
            return
        self._left -= len(piece)
        if self._left < 0:
            self._fail(GatewayError(f"{FAILS}the answer is larger than {self._most_bytes} bytes"))
            return
        # Joined as it arrives: millions of small pieces would take fifty times their bytes.
        if not self._body:
            self._body = piece
        else:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += piece
        if self._left < self._room_at:
            self._take_room()

    def on_message_complete(self) -> None:
        """End a response; an informational one (1xx) only precedes the response."""
        if self._waiter is None:
            return
        if self._in_head:
            self._headers.clear()
            self._reason = b""
            return
        self._complete()

    # ------------------------------------------------------------------------------

    def _take_room(self) -> None:
        """Take room for some more of the response, and pause reading until there is some."""
        most = self._most_bytes
        told = self._headers.get("content-length", "")
        if told.isdecimal() and len(told) < _MOST_DIGITS:
            most = min(most, int(told))
        size = room_after(self._most_bytes - self._left, most)
        self._room_at = -1 if size == most else self._most_bytes - size
        waits = self._room(size) if self._room is not None else None
        if waits is not None:
            self._waits_for_room = waits
            self._pause()
            waits.add_done_callback(self._have_room)

    def _have_room(self, waits: "asyncio.Future[None]") -> None:
        if waits is self._waits_for_room:
            self._read_on()

    def _read_on(self) -> None:
        """Wait for room no longer, because there is some or none is needed any more."""
        waits, self._waits_for_room = self._waits_for_room, None
        if waits is not None:
            waits.cancel()
            self._go_on()

    def _pause(self) -> None:
        if not self._is_paused and self.is_open:
            self._is_paused = True
            self._transport.pause_reading()

    def _go_on(self) -> None:
        """Parse what has been received; read more once there is nothing left of it."""
        if self._unparsed:
            self._queue.add(self)
        elif self._is_paused:
            self._is_paused = False
            if self.is_open:
                self._transport.resume_reading()

    def _let_go(self) -> None:
        self._has_ended = False
        del self._parser  # its callbacks refer to this object
        self._lost(self)

    def _is_interim(self) -> bool:
        status: int = self._parser.get_status_code()
        return status < 200 and status != _SWITCHED

    def _complete(self) -> None:
        waiter, self._waiter = self._waiter, None
        self._read_on()
        status = self._parser.get_status_code()
        # The response was not read to its end, or the protocol was switched.
        if status == _SWITCHED or self._transport.get_write_buffer_size():
            self._is_kept = False
        if waiter is None or waiter.done():
            return
        body, self._body = bytes(self._body), b""
        reason = self._reason.decode(errors="replace")
        waiter.set_result(Reply(status, reason, self._headers, body, self.peer))

    def _fail(self, error: Exception) -> None:
        # The rest of the response may still arrive, and would be taken for the next one.
        self._is_kept = False
        waiter, self._waiter = self._waiter, None
        self._read_on()
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)

    def _ended(self, error: Exception | None) -> None:
        """Complete or fail the response at the end of the connection."""
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


def room_after(size_bytes: int, most_bytes: int) -> int:
    """Return how much room an answer needs of which so many bytes have come.

    Room is taken as bytes come, whatever length was told: room costs the peer as many bytes.
    """
    return min(most_bytes, size_bytes + min(size_bytes, _MOST_MORE_BYTES))


def _too_long() -> str:
    return f"the headers of the answer are longer than {HEAD_BYTES} bytes"
