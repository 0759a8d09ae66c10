"""Masking of secrets in answers.

Each secret is looked for in a text as a whole, all values of JSON together, never in one value at
a time. So a mask takes time proportional to the bytes of a text for each secret, whatever the text
holds. Secrets have a pattern each: one pattern of all takes RE2 longer, since it meets more states.

Used by `gateways`, `gateways/secrets` and `serve/routes`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final

from rillflow.gateways.secrets.seal_masks import (
    APART,
    HIDDEN,
    without_seals,
    without_seals_apart,
)
from rillflow.gateways.secrets.spellings import (
    SHORTEST_MASKED,
    Pattern,
    pattern_of,
)
from rillflow.jsontypes import JsonObject, JsonValue, decode_json, encode_json
from rillflow.language.mapping.secret_references import reference_to

LIGHT_BYTES: Final = 2 * 1024
"""Masking a text of this size takes some 0.3 ms, whatever it holds."""
MOST_SEARCHED_BYTES: Final = 256 * 1024
"""Looking for a few secrets in a text, or many in a shorter one, takes as long as one in this."""
_MOST_PATTERNS: Final = 1_024
_OF_TEXTS: Final = (str, dict, list)
_ESCAPED: Final = re.compile(rb"\\u00[0-7]")


class Mask:
    """Replaces secrets, in all spellings, by references, and hides seals of callback addresses."""

    def __init__(self, values: Mapping[str, str]) -> None:
        """Replace secrets, by name; to make the pattern of a new one takes some milliseconds."""
        secrets = _longest_first([(value, reference_to(name)) for name, value in values.items()])
        self._secrets = tuple((_pattern(value), shown.encode()) for value, shown in secrets)

    @classmethod
    def hiding(cls, value: str) -> "Mask":
        """Return a mask for a secret that has no name; its pattern is made anew each time.

        That takes 0.1 ms, and 20 KiB, for each character.
        """
        mask = cls({})
        if len(value) >= SHORTEST_MASKED:
            mask._secrets = ((pattern_of(value), HIDDEN.encode()),)
        return mask

    def text(self, text: str) -> str:
        """Mask a text."""
        if not self._secrets and "seal" not in text:
            return text
        written = _in_utf8(text)
        masked = self._masked(without_seals(written))
        return text if masked is written else masked.decode("utf-8", "surrogatepass")

    def texts(self, texts: Sequence[str]) -> list[str]:
        """Mask texts, each on its own; many short ones take no longer than one of their length."""
        written = [_in_utf8(text) for text in texts]
        masked = self._masked_apart(written)
        return [text.decode("utf-8", "surrogatepass") for text in masked]

    def takes_long(self, text: bytes) -> bool:
        """Tell whether to mask a text may take more than a millisecond.

        Of a text of some kilobytes that is so where a secret is found, or may be once the text is
        decoded, and where there are many secrets.
        """
        size = len(text)
        if size * len(self._secrets) > MOST_SEARCHED_BYTES:
            return True
        if size <= LIGHT_BYTES or not self._secrets:
            return False
        return self._is_in(text) or _ESCAPED.search(text) is not None

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
        return any(pattern.search(text) is not None for pattern, _ in self._secrets)

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
        for pattern, shown in self._secrets:
            text = _replaced(pattern, shown, text)
        return text

    def _masked_apart(self, texts: Sequence[bytes]) -> list[bytes]:
        """Mask texts, each on its own, in as many searches as one text takes."""
        if not texts:
            return []
        return self._masked(without_seals_apart(APART.join(texts))).split(APART)

    def _value(self, value: JsonValue) -> JsonValue:
        """Mask each text, each key and each number of a value, on its own."""
        leaves = _Leaves()
        leaves.note(value)
        written = leaves.written()
        masked = self._masked_apart(written)
        return value if masked == written else leaves.replaced(value, written, masked)


class _Leaves:
    """What is masked in a value: its keys and texts, and what is neither, each in their order."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._others: list[JsonValue] = []

    def note(self, value: JsonValue) -> None:
        """Note a value with all that it holds."""
        self._note_all((value,))

    def _note_all(self, values: Iterable[JsonValue]) -> None:
        for value in values:
            if isinstance(value, str):
                self._texts.append(value)
            elif isinstance(value, dict):
                for key, member in value.items():
                    self._texts.append(key)
                    self._note_all((member,))
            elif isinstance(value, list):
                self._note_all(value)
            else:
                self._others.append(value)

    def written(self) -> list[bytes]:
        """Return all that was noted as it is written, first the texts."""
        texts = list(map(_in_utf8, self._texts))
        # None of them has a comma.
        return texts + encode_json(self._others)[1:-1].split(b",") if self._others else texts

    def replaced(
        self, value: JsonValue, written: Sequence[bytes], masked: Sequence[bytes]
    ) -> JsonValue:
        """Return the value that was noted, of what ``masked`` has in place of ``written``.

        A number in which something was masked becomes a text.
        """
        end = len(self._texts)
        texts = (text.decode("utf-8", "surrogatepass") for text in masked[:end])
        others = iter(self._others)
        if masked[end:] != written[end:]:
            others = (
                other if new == old else new.decode()
                for other, old, new in zip(self._others, written[end:], masked[end:], strict=True)
            )
        return _rebuilt(value, texts, others)


def _rebuilt(value: JsonValue, texts: Iterator[str], others: Iterator[JsonValue]) -> JsonValue:
    if isinstance(value, dict):
        masked: JsonObject = {}
        for member in value.values():
            key = next(texts)
            masked[key] = _rebuilt(member, texts, others)
        return masked
    if isinstance(value, list):
        return [
            _rebuilt(element, texts, others) if isinstance(element, _OF_TEXTS) else next(others)
            for element in value
        ]
    return next(texts) if isinstance(value, str) else next(others)


def _replaced(pattern: Pattern, shown: bytes, text: bytes) -> bytes:
    """Return a text with ``shown`` in place of what a pattern finds; the same one if nothing."""
    pieces: list[bytes] = []
    end = 0
    for found in pattern.finditer(text):
        begin, after = found.span()
        pieces += (text[end:begin], shown)
        end = after
    return b"".join((*pieces, text[end:])) if pieces else text


def _in_utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _longest_first(secrets: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Omit short secrets, and put a secret before those that it contains."""
    masked = (pair for pair in secrets if len(pair[0]) >= SHORTEST_MASKED)
    return tuple(sorted(masked, key=lambda pair: (-len(pair[0]), pair)))


@lru_cache(maxsize=_MOST_PATTERNS)
def _pattern(value: str) -> Pattern:
    return pattern_of(value)
