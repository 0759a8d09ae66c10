"""Taking secrets out of what functions answer."""

import html
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Final
from urllib.parse import quote, quote_plus

from rillflow.gateways.targets import form_quote
from rillflow.jsontypes import JsonObject, JsonValue, decode_json, encode_json
from rillflow.language.secret_references import reference_to

SHORTEST_CUT: Final = 512
"""Messages are cut off at this length, or later."""
SHORTEST_MASKED: Final = 4
"""Shorter secrets are not looked for: they would be found everywhere."""
HIDDEN: Final = "***"
"""Stands in the place of a secret that has no name."""
_FOR_PAGES: Final = str.maketrans({"<": r"\u003c", ">": r"\u003e", "&": r"\u0026"})
"""How Go, among others, escapes JSON so that it may stand in a page."""


class Mask:
    """Puts references in the place of secrets, however they are written."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._spellings = _longest_first(
            (value, reference_to(name)) for name, value in values.items()
        )

    @classmethod
    def hiding(cls, value: str) -> "Mask":
        """Return a mask of a secret that has no name."""
        mask = cls({})
        mask._spellings = _longest_first([(value, HIDDEN)])
        return mask

    def text(self, text: str) -> str:
        """Mask a text."""
        for spelling, reference in self._spellings:
            text = text.replace(spelling, reference)
        return text

    def message(self, text: str | None) -> str | None:
        """Mask a message, which may have been cut off in the middle of a secret."""
        if text is None:
            return None
        text = self.text(text)
        for spelling, reference in self._spellings if len(text) >= SHORTEST_CUT else ():
            length = _begun(spelling, text)
            if length >= SHORTEST_MASKED:
                return text[:-length] + reference
        return text

    def body(self, body: bytes | None) -> bytes | None:
        """Mask a body; what was JSON is JSON afterwards."""
        if not body or not self._may_be_in(body):
            return body
        try:
            value = decode_json(body)
        except ValueError:
            for spelling, reference in self._spellings:
                body = body.replace(spelling.encode(), reference.encode())
            return body
        if not self._is_written_in(encode_json(value)):
            return body
        masked = self._value(value)
        return body if masked == value else encode_json(masked)

    def _may_be_in(self, body: bytes) -> bool:
        """Tell whether a secret is in a body, or any character of it may be escaped."""
        return bool(self._spellings) and (b"\\" in body or self._is_in(body))

    def _is_in(self, body: bytes) -> bool:
        return any(spelling.encode() in body for spelling, _ in self._spellings)

    def _is_written_in(self, text: bytes) -> bool:
        """Tell whether a secret is in JSON that escapes nothing but what must be escaped."""
        return any(encode_json(spelling)[1:-1] in text for spelling, _ in self._spellings)

    def _value(self, value: JsonValue) -> JsonValue:
        if isinstance(value, dict):
            masked: JsonObject = {}
            for key, member in value.items():
                masked[self.text(key)] = self._value(member)
            return masked
        if isinstance(value, list):
            return [self._value(element) for element in value]
        if isinstance(value, str):
            return self.text(value)
        written = encode_json(value).decode()
        masked_text = self.text(written)
        return value if masked_text == written else masked_text


def _begun(spelling: str, text: str) -> int:
    """Return with how many characters of a spelling, not with all, a text ends.

    Knuth, Morris and Pratt: each character of the end is looked at once.
    """
    most = min(len(spelling) - 1, len(text))
    borders = [0] * most
    length = 0
    for at in range(1, most):
        while length and spelling[at] != spelling[length]:
            length = borders[length - 1]
        length += spelling[at] == spelling[length]
        borders[at] = length
    length = 0
    for character in text[len(text) - most :]:
        while length and (length == most or spelling[length] != character):
            length = borders[length - 1]
        length += most > 0 and spelling[length] == character
    return length


def _longest_first(secrets: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """List how secrets may be written, each with what is shown instead."""
    pairs = (
        (spelling, shown)
        for value, shown in secrets
        if len(value) >= SHORTEST_MASKED
        for spelling in _spellings(value)
    )
    return sorted(pairs, key=lambda pair: (-len(pair[0]), pair))


def _spellings(value: str) -> Iterator[str]:
    """Yield a value as it stands in plain text, in JSON, in a URL and in a form."""
    in_json = (encode_json(value)[1:-1].decode(), json.dumps(value)[1:-1])
    forms = (
        value,
        *in_json,
        *(form.replace("/", "\\/") for form in in_json),  # as PHP writes it
        *(form.translate(_FOR_PAGES) for form in in_json),
        quote(value, safe=""),
        quote(value),
        quote_plus(value),
        form_quote(value),
        html.escape(value),
    )
    yield from dict.fromkeys(forms)
