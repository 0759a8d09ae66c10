"""Masking of the seals of callback addresses, which a function may repeat in its answer.

The seal lets its holder call back for an attempt, so it is not shown to those who may look at the
execution. It is found in the address and in its fields, as plain text, percent-encoded, escaped
in JSON, and in HTML.

Used by `gateways/secrets`.
"""

from functools import cache
from typing import Any, Final

import re2

HIDDEN: Final = "***"
"""Replaces a secret that has no name."""

_MOST_BETWEEN: Final = 32
"""How many characters may stand between two names or values: quotes, signs, blanks and lines."""
APART: Final = b"\xff"
"""What stands between texts that are masked together: no text has it in UTF-8, and no secret."""

_SIGN: Final = rb"[^A-Za-z0-9_-]"
_BETWEEN: Final = (
    rb"(?:%b|%%(?:25)*[0-9a-fA-F]{2}|\\+(?:u00[0-9a-fA-F]{2}|[nrt])"
    rb"|(?:amp;|quot;|apos;|#[0-9]{2};|#[xX][0-9a-fA-F]{2};)){1,%d}" % (_SIGN, _MOST_BETWEEN)
)
# The fields of an address are sorted by name. A seal has 32 bytes, in Base64 without padding. A
# function may repeat the address, or the fields as it has read them.
_SEALED: Final = rb"(expires%b[0-9]{1,15}%bseal%b)[A-Za-z0-9_-]{43}" % ((_BETWEEN,) * 3)
_SEALED_APART: Final = _SEALED.replace(_SIGN, rb"[^A-Za-z0-9_\xff-]")


def without_seals(text: bytes) -> bytes:
    """Return a text without the seals in it, the same object if it has none; JSON stays JSON."""
    if b"seal" not in text:  # nearly all; this takes a microsecond for 20 KB
        return text
    return _hidden(_SEAL, text)


def without_seals_apart(texts: bytes) -> bytes:
    """Return texts, joined by ``APART``, without the seals in any of them."""
    return _hidden(_compiled(_SEALED_APART), texts) if b"seal" in texts else texts


def _hidden(pattern: Any, text: bytes) -> bytes:
    pieces: list[bytes] = []
    end = 0
    for found in pattern.finditer(text):
        pieces += (text[end : found.end(1)], _HIDDEN)
        end = found.end()
    return b"".join((*pieces, text[end:])) if pieces else text


@cache
def _compiled(pattern: bytes) -> Any:  # re2 ships no types
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    return re2.compile(pattern, options)


_SEAL: Final = _compiled(_SEALED)
"""RE2 lets go of the interpreter while it searches, so a large text holds no event loop."""
_HIDDEN: Final = HIDDEN.encode()
