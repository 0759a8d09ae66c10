"""Masking of secrets in answers.

Used by `gateways`, `gateways/secrets` and `serve/routes`.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from rillflow.gateways.secrets.seal_masks import HIDDEN, without_seals
from rillflow.gateways.secrets.spellings import (
    SHORTEST_MASKED,
    Pattern,
    pattern_of,
)
from rillflow.jsontypes import JsonObject, JsonValue, decode_json, encode_json
from rillflow.language.mapping.secret_references import reference_to

_MOST_PATTERNS: Final = 1_024
_ESCAPED: Final = re.compile(rb"\\u00[0-7]")


class Mask:
    """Replaces secrets, in all spellings, by references, and hides seals of callback addresses."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._secrets = _longest_first(
            [(value, reference_to(name)) for name, value in values.items()]
        )
        for value, _ in self._secrets:
            _pattern(value)  # takes some milliseconds, so not at the first answer

    @classmethod
    def hiding(cls, value: str) -> "Mask":
        """Return a mask for a secret that has no name."""
        mask = cls({})
        mask._secrets = _longest_first([(value, HIDDEN)])
        return mask

    def text(self, text: str) -> str:
        """Mask a text."""
        if not self._secrets and "seal" not in text:
            return text
        written = text.encode("utf-8", "surrogatepass")
        masked = self._masked(without_seals(written))
        return text if masked is written else masked.decode("utf-8", "surrogatepass")

    def message(self, text: str | None) -> str | None:
        """Mask a message, None if there is none.

        A secret that was cut off is not searched: its replacement would tell the author of a
        message whether the end of the message is the beginning of a secret. So messages are masked
        before they are cut.
        """
        return None if text is None else self.text(text)

    def body(self, body: bytes | None) -> bytes | None:
        """Mask a body; JSON remains JSON."""
        if not body:
            return body
        body = without_seals(body)
        if not self._is_in(body) and not self._is_escaped_in(body):
            return body
        try:
            value = decode_json(body)
        except ValueError:
            return self._masked(body)
        masked = self._value(value)
        return body if masked == value else encode_json(masked)

    def _is_in(self, text: bytes) -> bool:
        return any(_pattern(value).search(text) is not None for value, _ in self._secrets)

    def _is_escaped_in(self, body: bytes) -> bool:
        """Tell whether a secret is in a body whose encoder escapes characters of ASCII.

        Some escape ``+`` or ``<``. What is shown is decoded, and has the characters.
        """
        if not self._secrets or _ESCAPED.search(body) is None:
            return False
        try:
            return self._is_in(encode_json(decode_json(body)))
        except ValueError:
            return False

    def _masked(self, text: bytes) -> bytes:
        """Return the same object if there is nothing to mask."""
        for value, shown in self._secrets:
            if _pattern(value).search(text) is not None:
                text = _pattern(value).sub(shown.encode().replace(b"\\", b"\\\\"), text)
        return text

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


def _longest_first(secrets: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Omit short secrets, and put a secret before those that it contains."""
    masked = (pair for pair in secrets if len(pair[0]) >= SHORTEST_MASKED)
    return tuple(sorted(masked, key=lambda pair: (-len(pair[0]), pair)))


@lru_cache(maxsize=_MOST_PATTERNS)
def _pattern(value: str) -> Pattern:
    return pattern_of(value)
