"""The spellings of a secret in a text, as one pattern.

A secret is found as plain text in any case, with any of its characters percent-encoded, escaped in
JSON (once or several times), or written as an HTML entity, as the punycode of a host name, and
inside Base64, at any offset and in lines. Patterns are RE2's over UTF-8 bytes, so a search takes
linear time.

Used by `gateways/secrets/masks.py`.
"""

import base64
import html
import json
import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote, quote_plus

import re2

from rillflow.gateways.outbound.targets import form_quote
from rillflow.jsontypes import encode_json

SHORTEST_MASKED: Final = 4
"""Shorter secrets are not searched: they would be found everywhere."""
SHORTEST_IN_BASE64: Final = 7
"""Shorter pieces of Base64 are not searched: they occur in images by chance."""
LONGEST_SPELLED_OUT: Final = 512
"""Of longer secrets only the usual spellings of the whole are searched."""

Pattern = Any  # re2 ships no types

_MEMORY_BYTES: Final = 64 * 1024 * 1024
_IN_BASE64: Final = {
    "+": rb"(?:[+-]|%2[bB]|\\+u002[bBdD])",
    "/": rb"(?:\\*/|_|%2[fF]|\\+u00(?:2[fF]|5[fF]))",
}
_LINE_BREAK: Final = rb"(?:\\+[rn]|[\r\n]|%(?:25)*0(?:[aA]|[dD])|\\+u000(?:[aA]|[dD]))*"
"""What may stand between two characters of Base64 in lines, as MIME and ``base64`` write it."""
_JSON_LETTERS: Final = {"\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f"}


def pattern_of(secret: str) -> Pattern:
    """Return a pattern of all spellings of a secret.

    Raises:
        re2.error: The pattern is larger than RE2 may become; no secret of a sane size is.
    """
    spellings = [*_words(secret), *map(_as_base64, cores_in_base64(secret))]
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.longest_match = True  # "&" also begins "&#38;"
    options.max_mem = _MEMORY_BYTES
    options.log_errors = False
    return re2.compile(b"|".join(spellings), options)


def usual_spellings(secret: str) -> Iterator[str]:
    """Generate a secret as plain text, in JSON, in a URL, in a form and in Base64."""
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
        *cores_in_base64(secret),
    )
    yield from dict.fromkeys(forms)


def cores_in_base64(secret: str) -> Iterator[str]:
    """Generate the Base64 of a secret that does not depend on its neighbours.

    Three bytes become four characters, so there are three forms, by the number of preceding bytes.
    """
    value = secret.encode("utf-8", "surrogatepass")
    for lead in range(3):
        encoded = base64.b64encode(bytes(lead) + value).decode()
        core = encoded[-(-lead * 8 // 6) : (lead + len(value)) * 8 // 6]
        if len(core) >= SHORTEST_IN_BASE64:
            yield core


def _words(secret: str) -> Iterator[bytes]:
    """Generate patterns of the whole secret, without Base64."""
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
        b"&(?:amp;)*#0*%d;" % code,
        b"&(?:amp;)*#x0*%x;" % code,
    ]
    if character == " ":
        ways.append(rb"\+")
    if character in _JSON_LETTERS:
        ways.append(rb"\\+" + _JSON_LETTERS[character].encode())
    if code < 0x80 and not character.isalnum():
        ways.append(rb"\\+" + _literal(value))
        entity = html.escape(character)
        if entity != character:
            ways.append(b"&(?:amp;)*" + _literal(entity.encode()[1:]))
    return b"(?:" + b"|".join(ways) + b")"


def _escaped(characters: str) -> bytes:
    """Return a pattern of characters as JSON has them with nothing but ASCII."""
    units = characters.encode("utf-16-be", "surrogatepass")
    return b"".join(rb"\\+u%02x%02x" % (units[at], units[at + 1]) for at in range(0, len(units), 2))


def _as_base64(core: str) -> bytes:
    return _LINE_BREAK.join(_IN_BASE64.get(each) or _literal(each.encode()) for each in core)


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
