"""The JSON values that flow through the house.

Values are treated as immutable once they are shared: code that changes a
container first copies it (copy on write, see ``language.targets``), so contexts,
inputs and outputs may share structure without ever seeing each other's edits.
"""

from collections.abc import Mapping
from typing import Final, TypeAlias

import msgspec
from typing_extensions import TypeAliasType

JsonValue = TypeAliasType(
    "JsonValue", "None | bool | int | float | str | list[JsonValue] | dict[str, JsonValue]"
)
JsonObject: TypeAlias = dict[str, JsonValue]
ReadonlyJsonObject: TypeAlias = Mapping[str, JsonValue]

EMPTY_OBJECT: Final = b"{}"

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()


def encode_json(value: object) -> bytes:
    """Encode a JSON value compactly; integers of any size stay exact."""
    return _encoder.encode(value)


def decode_json(text: bytes | str) -> JsonValue:
    """Decode JSON text.

    Raises:
        ValueError: The text is not JSON (``NaN``, lone surrogates and nesting
            deeper than the interpreter's stack count as not JSON).
    """
    try:
        value: JsonValue = _decoder.decode(text)
    except RecursionError as error:
        raise ValueError("JSON is nested too deeply") from error
    return value
