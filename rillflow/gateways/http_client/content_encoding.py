"""Decoding of compressed responses, which occur only if a workflow asks for them.

Used by `gateways/http/gateway.py`.
"""

import zlib
from typing import Final

from rillflow.errors import BrokenExchangeError, GatewayError
from rillflow.gateways.messages.exchange import FAILS

_GZIP: Final = 16 + zlib.MAX_WBITS
_GZIPS: Final = frozenset({"gzip", "x-gzip"})
_UNKNOWN: Final = frozenset({"br", "zstd", "compress"})
_DEFLATED: Final = 8
"""The low four bits of zlib's first byte; other values mean raw deflate."""
_PIECE_BYTES: Final = 4096
"""The rest after a stream is copied, so many small streams in one piece would take too long."""


def unpacked(body: bytes, encoding: str, *, most_bytes: int) -> bytes:
    """Decode a body by its ``Content-Encoding``; an unknown encoding leaves it as it is.

    Raises:
        BrokenExchangeError: The body is not in this encoding.
        GatewayError: It would be larger than ``most_bytes``.
    """
    encoding = encoding.strip().lower()
    if encoding in _UNKNOWN:
        raise BrokenExchangeError(f"the answer is packed as {encoding}, which is not understood")
    if not body or (encoding != "deflate" and encoding not in _GZIPS):
        return body
    bits = _GZIP
    if encoding == "deflate":
        bits = zlib.MAX_WBITS if body[0] & 0xF == _DEFLATED else -zlib.MAX_WBITS
    try:
        return _inflated(body, bits, most_bytes)
    except zlib.error as error:
        raise BrokenExchangeError("the answer cannot be unpacked") from error


def _inflated(body: bytes, bits: int, most_bytes: int) -> bytes:
    """Unpack one stream, or several one after the other."""
    parts: list[bytes] = []
    left = most_bytes
    stream = zlib.decompressobj(bits)
    for start in range(0, len(body), _PIECE_BYTES):
        piece = body[start : start + _PIECE_BYTES]
        while piece:
            if stream.eof:
                stream = zlib.decompressobj(bits)
            part = stream.decompress(piece, left + 1)
            left -= len(part)
            if left < 0:
                raise GatewayError(f"{FAILS}the answer is larger than {most_bytes} bytes")
            parts.append(part)
            piece = stream.unused_data
    if not stream.eof:
        raise BrokenExchangeError("the answer broke off")
    return b"".join(parts)
