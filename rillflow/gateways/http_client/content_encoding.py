"""Decoding of compressed responses, which occur only if a workflow asks for them.

Used by `gateways/http/reading.py`.
"""

import zlib
from typing import Final

from rillflow.errors import BrokenExchangeError, GatewayError
from rillflow.gateways.outbound.exchange import FAILS

_GZIP: Final = 16 + zlib.MAX_WBITS
_GZIPS: Final = frozenset({"gzip", "x-gzip"})
_UNKNOWN: Final = frozenset({"br", "zstd", "compress"})
_DEFLATED: Final = 8
"""The low four bits of zlib's first byte; other values mean raw deflate."""
_PIECE_BYTES: Final = 4096
"""The rest after a stream is copied, so many small streams in one piece would take too long."""


class Unpacking:
    """Decodes a body by its ``Content-Encoding``, some of it at a time.

    An unknown encoding leaves the body as it is.

    Attributes:
        size_bytes: How much has been unpacked.
    """

    def __init__(self, body: bytes, encoding: str, *, most_bytes: int) -> None:
        """Unpack nothing yet.

        Raises:
            BrokenExchangeError: The encoding is known and not understood.
        """
        encoding = encoding.strip().lower()
        if encoding in _UNKNOWN:
            raise BrokenExchangeError(
                f"the answer is packed as {encoding}, which is not understood"
            )
        self._body = body
        self._most_bytes = most_bytes
        self._parts: list[bytes] = []
        self._start = self.size_bytes = 0
        self._piece = b""
        self._is_packed = bool(body) and (encoding == "deflate" or encoding in _GZIPS)
        if self._is_packed:
            self._bits = _GZIP
            if encoding == "deflate":
                self._bits = zlib.MAX_WBITS if body[0] & 0xF == _DEFLATED else -zlib.MAX_WBITS
            self._stream = zlib.decompressobj(self._bits)

    def go_on(self, until_bytes: int) -> bool:
        """Unpack until there are more than so many bytes; return whether that is all.

        Raises:
            BrokenExchangeError: The body is not in this encoding.
            GatewayError: It is larger than it may be.
        """
        try:
            while self._is_packed and self.size_bytes <= until_bytes:
                if not self._unpack_some(until_bytes + 1 - self.size_bytes):
                    return True
        except zlib.error as error:
            raise BrokenExchangeError("the answer cannot be unpacked") from error
        return not self._is_packed

    def text(self) -> bytes:
        """Return what has been unpacked."""
        return b"".join(self._parts) if self._is_packed else self._body

    def _unpack_some(self, most_bytes: int) -> bool:
        """Unpack a piece, of one stream or of the next one; return whether there was any."""
        if not self._piece:
            self._piece = self._body[self._start : self._start + _PIECE_BYTES]
            self._start += _PIECE_BYTES
        if self._piece and self._stream.eof:
            self._stream = zlib.decompressobj(self._bits)
        is_last = not self._piece
        part = self._stream.decompress(self._piece, most_bytes)
        self._piece = self._stream.unconsumed_tail or self._stream.unused_data
        if is_last and not part:
            if not self._stream.eof:
                raise BrokenExchangeError("the answer broke off")
            return False
        self.size_bytes += len(part)
        if self.size_bytes > self._most_bytes:
            raise GatewayError(f"{FAILS}the answer is larger than {self._most_bytes} bytes")
        self._parts.append(part)
        return True


def unpacked(body: bytes, encoding: str, *, most_bytes: int) -> bytes:
    """Decode a body at once; see ``Unpacking``."""
    unpacking = Unpacking(body, encoding, most_bytes=most_bytes)
    unpacking.go_on(most_bytes)
    return unpacking.text()
