"""Masking of the seals of callback addresses, which a function may repeat in its answer.

The seal lets its holder call back for an attempt, so it is not shown to those who may look at the
execution. It is found as plain text, percent-encoded, escaped in JSON, and in HTML.

Used by `gateways/secrets`.
"""

import re
from typing import Final

HIDDEN: Final = "***"
"""Replaces a secret that has no name."""

_EQUALS: Final = rb"(?:=|%(?:25)*3[dD]|\\+u003[dD]|&(?:amp;)*#(?:61|[xX]3[dD]);)"
_AND: Final = rb"(?:&(?:amp;)*(?:#(?:38|[xX]26);)?|%(?:25)*26|\\+u0026)"
# The fields of an address are sorted by name. A seal has 32 bytes, in Base64 without padding.
_SEAL: Final = re.compile(
    rb"(expires" + _EQUALS + rb"[0-9]{1,15}" + _AND + rb"seal" + _EQUALS + rb")[A-Za-z0-9_-]{43}"
)
_SHOWN: Final = rb"\1" + HIDDEN.encode()


def without_seals(text: bytes) -> bytes:
    """Return a text without the seals in it, the same object if it has none; JSON stays JSON."""
    if b"seal" not in text:  # nearly all; this takes a microsecond for 20 KB
        return text
    return _SEAL.sub(_SHOWN, text)
