"""The spellings of a secret in a text, as one pattern.

A secret is found as plain text in any case and in both normal forms of Unicode, with any of its
characters percent-encoded (also as Latin-1), escaped in JSON (once or several times) or in the
source of a program, or written as an HTML entity, as the punycode of a host name, as hexadecimal
digits, and inside Base64 and Base32, at any offset, the first also in lines and of the Latin-1
bytes. Patterns are RE2's over UTF-8 bytes, so a search takes linear time. That of 40 characters
takes 0.4 MiB and 4 to 13 ms.

Used by `gateways/secrets/masks.py`.
"""

import html
import html.entities
import json
import re
import string
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from math import gcd
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import quote, quote_plus

import re2

from rillflow.gateways.outbound.targets import form_quote
from rillflow.jsontypes import encode_json

SHORTEST_MASKED: Final = 4
"""Shorter secrets are not searched: they would be found everywhere."""
SHORTEST_ENCODED: Final = 7
"""Shorter pieces of Base64 and Base32 are not searched: they occur in images by chance."""
LONGEST_SPELLED_OUT: Final = 512
"""Of longer secrets only the usual spellings of the whole are searched."""

LONGEST_IN_ALL_CODES: Final = 128
"""Longer secrets, in bytes, are searched neither in Base32 nor in hexadecimal digits nor in another
normal form: with a larger pattern RE2 takes a hundred times as long for a text."""

Pattern = Any  # re2 ships no types

_MEMORY_BYTES: Final = 64 * 1024 * 1024
_IN_BASE64: Final = {
    "+": rb"(?:[+-]|%2[bB]|\\+u002[bBdD])",
    "/": rb"(?:\\*/|_|%2[fF]|\\+u00(?:2[fF]|5[fF]))",
}
_LINE_BREAK: Final = (
    rb"(?:(?:\\+[rn]|[\r\n]|%(?:25)*0(?:[aA]|[dD])|\\+u000(?:[aA]|[dD]))"
    rb"(?:[ \t]|\\+t|%(?:25)*(?:20|09))*)*"
)
"""What may stand between two characters of Base64 in lines, as MIME and ``base64`` write it."""
_BYTE_BREAK: Final = rb"[ ,:-]{0,2}(?:0x|\\+x)?"
"""What may stand between two bytes in hexadecimal digits."""
_ENTITIES: Final = defaultdict[str, list[bytes]](list)
"""What stands behind the ``&`` of the HTML entities of a character."""
for _name, _characters in html.entities.html5.items():
    if _name.endswith(";"):
        _ENTITIES[_characters].append(_name.encode())
_JSON_LETTERS: Final = {"\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f"}


class _Encoding(NamedTuple):
    """A code that writes a text by characters of a few bits, whatever the bytes are."""

    characters: str
    bits: int
    ignores_case: bool = False
    line_break: bytes = b""


_BASE64: Final = _Encoding(
    f"{string.ascii_uppercase}{string.ascii_lowercase}{string.digits}+/", 6, line_break=_LINE_BREAK
)
_BASE32: Final = _Encoding(f"{string.ascii_uppercase}234567", 5, ignores_case=True)


def pattern_of(secret: str) -> Pattern:
    """Return a pattern of all spellings of a secret.

    Raises:
        re2.error: The pattern is larger than RE2 may become; no secret of a sane size is.
    """
    spellings = [each for form in _forms(secret) for each in (*_words(form), *_encoded(form))]
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.longest_match = True  # "&" also begins "&#38;"
    options.max_mem = _MEMORY_BYTES
    options.log_errors = False
    return re2.compile(b"|".join(spellings), options)


def usual_spellings(secret: str) -> Iterator[str]:
    """Generate a secret as plain text, in JSON, in a URL and in a form."""
    in_json = (encode_json(secret)[1:-1].decode(), json.dumps(secret)[1:-1])
    forms = (
        secret,
        *in_json,
        *(form.replace("/", "\\/") for form in in_json),  # PHP's form
        quote(secret, safe=""),
        quote(secret),
        quote_plus(secret),
        form_quote(secret),
        html.escape(secret),
    )
    yield from dict.fromkeys(forms)


def _forms(secret: str) -> Iterator[str]:
    """Generate a secret as it is, and in the normal forms of Unicode in which it differs."""
    ways: Iterable[Literal["NFC", "NFD"]] = ("NFC", "NFD") if _is_short(secret) else ()
    yield from dict.fromkeys((secret, *(unicodedata.normalize(way, secret) for way in ways)))


def _is_short(secret: str) -> bool:
    return len(secret.encode("utf-8", "surrogatepass")) <= LONGEST_IN_ALL_CODES


def _encoded(secret: str) -> Iterator[bytes]:
    """Generate patterns of a secret in hexadecimal digits, Base64 and Base32."""
    value = secret.encode("utf-8", "surrogatepass")
    yield from _in_encoding(value, _BASE64, has_edges=len(secret) <= LONGEST_SPELLED_OUT)
    if _is_short(secret):
        if not secret.isascii() and secret.isprintable() and max(secret) <= "\xff":
            # As many clients send a password.
            yield from _in_encoding(secret.encode("latin-1"), _BASE64, has_edges=True)
        yield from _in_encoding(value, _BASE32, has_edges=True)
        yield b"(?i:" + _BYTE_BREAK.join(b"%02x" % byte for byte in value) + b")"


def _in_encoding(value: bytes, encoding: _Encoding, *, has_edges: bool) -> Iterator[bytes]:
    """Generate a pattern for each place at which a value may begin in a character of an encoding.

    The first and the last character may have bits of its neighbours too. With ``has_edges`` they
    are hidden if their other bits are those of the value.
    """
    width = encoding.bits
    written = f"{int.from_bytes(value):0{len(value) * 8}b}"
    for foreign in range(0, width, gcd(8, width)):
        begin = -foreign % width
        end = len(written) - (len(written) - begin) % width
        if end - begin < SHORTEST_ENCODED * width:
            continue
        core = (
            encoding.characters[int(written[at : at + width], 2)] for at in range(begin, end, width)
        )
        first = [each for bits, each in _numbered(encoding) if bits.endswith(written[:begin])]
        last = [each for bits, each in _numbered(encoding) if bits.startswith(written[end:])]
        pattern = encoding.line_break.join(map(_in_base64, core))
        if has_edges and begin:
            pattern = b"(?:" + _one_of(first) + encoding.line_break + b")?" + pattern
        if has_edges and end < len(written):
            pattern += b"(?:" + encoding.line_break + _one_of(last) + b")?"
        yield (b"(?i:%s)" if encoding.ignores_case else b"%s") % pattern


def _numbered(encoding: _Encoding) -> Iterator[tuple[str, str]]:
    return ((f"{at:0{encoding.bits}b}", each) for at, each in enumerate(encoding.characters))


def _one_of(characters: Iterable[str]) -> bytes:
    return b"(?:" + b"|".join(map(_in_base64, characters)) + b")"


def _in_base64(character: str) -> bytes:
    return _IN_BASE64.get(character) or _literal(character.encode())


def _words(secret: str) -> Iterator[bytes]:
    """Generate patterns of the whole secret, character by character."""
    if len(secret) <= LONGEST_SPELLED_OUT:
        yield b"(?i:" + b"".join(map(_character, secret)) + b")"
    else:
        for spelling in usual_spellings(secret):
            yield b"(?i:" + _literal(spelling.encode("utf-8", "surrogatepass")) + b")"
    host = _punycode(secret)
    if host:
        yield b"(?i:" + _literal(host) + b")"


def _character(character: str) -> bytes:
    """Return a pattern of one character in all its spellings."""
    value = character.encode("utf-8", "surrogatepass")
    code = ord(character)
    # RE2 folds the case of ASCII only in byte mode.
    cases = dict.fromkeys((character, character.lower(), character.upper()))
    ways = [
        *(_literal(each.encode("utf-8", "surrogatepass")) for each in cases),
        b"".join(b"%%(?:25)*%02x" % byte for byte in value),
        *map(_escaped, cases),
        b"".join(rb"\\+x%02x" % byte for byte in value),
        b"".join(rb"\\+%03o" % byte for byte in value),
        b"&(?:amp;)*#0*%d;" % code,
        b"&(?:amp;)*#x0*%x;" % code,
        rb"\\+(?:U%08x|u\{0*%x\})" % (code, code),  # C, Python; JavaScript, Rust
        b"".join(b"=%02x" % byte for byte in value),  # quoted-printable
    ]
    if 0x80 <= code <= 0xFF:
        ways.append(b"%%(?:25)*%02x" % code)  # as Latin-1
    if character == " ":
        ways.append(rb"\+")
    if character in _JSON_LETTERS:
        ways.append(rb"\\+" + _JSON_LETTERS[character].encode())
    if code < 0x80 and not character.isalnum():
        ways.append(rb"\\+" + _literal(value))
    ways += (b"&(?:amp;)*" + each for each in _ENTITIES.get(character, ()))
    return b"(?:" + b"|".join(ways) + b")"


def _escaped(characters: str) -> bytes:
    """Return a pattern of characters as JSON has them with nothing but ASCII."""
    units = characters.encode("utf-16-be", "surrogatepass")
    return b"".join(rb"\\+u%02x%02x" % (units[at], units[at + 1]) for at in range(0, len(units), 2))


def _literal(value: bytes) -> bytes:
    return re.escape(value).replace(b"\0", rb"\x00")


def _punycode(secret: str) -> bytes | None:
    """Return a secret in the form of a host name, None if that is the same."""
    if secret.isascii():
        return None
    try:
        return secret.encode("idna")
    except UnicodeError:
        return None
