"""The JSON values that flow through the house.

Values are treated as immutable once they are shared: code that changes a
container first copies it (copy on write, see ``language.targets``), so contexts,
inputs and outputs may share structure without ever seeing each other's edits.
"""

import re
from collections.abc import Mapping
from typing import Final, TypeAlias

import msgspec
from typing_extensions import TypeAliasType

JsonValue = TypeAliasType(
    "JsonValue", "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
)
JsonObject: TypeAlias = dict[str, JsonValue]
ReadonlyJsonObject: TypeAlias = Mapping[str, JsonValue]

EMPTY_OBJECT: Final = b"{}"
MAX_DEPTH: Final = 200
_MARKS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()


def encode_json(value: object) -> bytes:
    """Encode a JSON value compactly; integers of any size stay exact."""
    return _encoder.encode(value)


def decode_json(text: bytes | str) -> JsonValue:
    """Decode JSON text.

    Raises:
        ValueError: The text is not JSON, or nested deeper than ``MAX_DEPTH``
            (``NaN`` and lone surrogates count as not JSON).
    """
    if isinstance(text, str):
        text = text.encode()
    if text.count(b"[") + text.count(b"{") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        raise ValueError(f"JSON is nested deeper than {MAX_DEPTH} levels")
    value: JsonValue = _decoder.decode(text)
    return value


def _depth(text: bytes) -> int:
    deepest = depth = 0
    for mark in _MARKS.finditer(text):
        found = mark[0]
        if found in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif found in b"]}":
            depth -= 1
    return deepest
