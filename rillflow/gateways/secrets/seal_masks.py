"""Masking of the seals of callback addresses, which a function may repeat in its answer.

The seal lets its holder call back for an attempt, so it is not shown to those who may look at the
execution. It is found as plain text, percent-encoded, escaped in JSON, and in HTML.

Used by `gateways/secrets`.
"""

from typing import Any, Final

import re2

HIDDEN: Final = "***"
"""Replaces a secret that has no name."""

_EQUALS: Final = rb"(?:=|%(?:25)*3[dD]|\\+u003[dD]|&(?:amp;)*#(?:61|[xX]3[dD]);)"
_AND: Final = rb"(?:&(?:amp;)*(?:#(?:38|[xX]26);)?|%(?:25)*26|\\+u0026)"
# The fields of an address are sorted by name. A seal has 32 bytes, in Base64 without padding.
_SEALED: Final = rb"(expires%b[0-9]{1,15}%bseal%b)[A-Za-z0-9_-]{43}" % (_EQUALS, _AND, _EQUALS)


def without_seals(text: bytes) -> bytes:
    """Return a text without the seals in it, the same object if it has none; JSON stays JSON."""
    if b"seal" not in text:  # nearly all; this takes a microsecond for 20 KB
        return text
    pieces: list[bytes] = []
    end = 0
    for found in _SEAL.finditer(text):
        pieces += (text[end : found.end(1)], _HIDDEN)
        end = found.end()
    return b"".join((*pieces, text[end:])) if pieces else text


def _compiled(pattern: bytes) -> Any:  # re2 ships no types
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    return re2.compile(pattern, options)


_SEAL: Final = _compiled(_SEALED)
"""RE2 lets go of the interpreter while it searches, so a large text holds no event loop."""
_HIDDEN: Final = HIDDEN.encode()
