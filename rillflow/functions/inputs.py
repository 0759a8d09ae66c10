"""From the body of a request to the input of a function (spec 4.5).

All fields of a form together may hold as many values as one JSON text, and only those are decoded
that the function has a parameter for.

Used by `functions/application.py`.
"""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from rillflow.functions.limits import CallRefusedError
from rillflow.functions.requests import MOST_PARAMETERS, Head
from rillflow.jsontypes import (
    JsonObject,
    JsonValue,
    count_of_values,
    decode_json,
    decode_untrusted_json,
    why_too_much_together,
)

FORM: Final = "application/x-www-form-urlencoded"
VALUE_BYTES: Final = 32
"""What each value of a body takes beyond its text, as ``count_of_values`` counts them."""
_TASK: Final = "name"
"""The parameter of every address that has the task; it is no input."""
_CONTAINERS: Final = (b"{", b"[")
_PART_BYTES: Final = 65_536


class Input(NamedTuple):
    """The fields of an input, and what they take beyond the bytes of the body."""

    fields: JsonObject
    made_bytes: int


def read_input(head: Head, body: bytes, takes: Callable[[str], bool]) -> Input:
    """Return the input: the parameters of the address, overridden by the fields of the body.

    Args:
        head: What came before the body.
        body: A JSON object or a form, or nothing.
        takes: Tells whether the function has a parameter for a field.

    Raises:
        CallRefusedError: The body is no JSON object, and no form; or it holds too much.
    """
    fields: JsonObject = {name: value for name, value in head.query.items() if name != _TASK}
    if not body:
        return Input(fields, 0)
    is_form = head.headers.get("content-type", "").partition(";")[0].strip().lower() == FORM
    read, values = _form_of(body, takes) if is_form else _object_of(body)
    return Input(fields | read, VALUE_BYTES * values)


def _object_of(body: bytes) -> tuple[JsonObject, int]:
    try:
        value = decode_untrusted_json(body)
    except ValueError as error:
        raise CallRefusedError(400, f"the body is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise CallRefusedError(400, "the body is JSON, and no object")
    return value, count_of_values(body, 0)


def _form_of(body: bytes, takes: Callable[[str], bool]) -> tuple[JsonObject, int]:
    pairs = dict(_pairs_of(body))
    read = [name for name, text in pairs.items() if text.startswith(_CONTAINERS) and takes(name)]
    texts = [pairs[name] for name in read]
    if reason := why_too_much_together(texts):
        raise CallRefusedError(400, f"the form cannot be handled: {reason}")
    fields: JsonObject = {name: text.decode(errors="replace") for name, text in pairs.items()}
    fields |= {name: _of_form(pairs[name]) for name in read}
    return fields, sum(count_of_values(text, 0) for text in texts)


def _pairs_of(body: bytes) -> Iterator[tuple[str, bytes]]:
    try:
        body.decode()
    except ValueError as error:
        raise CallRefusedError(400, f"the body is no form: {error}") from None
    if body.count(b"&") >= MOST_PARAMETERS:
        raise CallRefusedError(400, f"the body is no form: more than {MOST_PARAMETERS} fields")
    for pair in body.split(b"&"):
        name, _, value = pair.partition(b"=")
        if pair:
            yield _unquoted(name).decode(errors="replace"), _unquoted(value)


def _unquoted(text: bytes) -> bytes:
    """Decode a text of a form in parts: for each ``%`` of a part there is an object meanwhile."""
    parts: list[bytes] = []
    start = 0
    while start < len(text):
        end = start + _PART_BYTES
        cut = text.rfind(b"%", end - 2, end)
        end = cut if cut > start else end
        parts.append(unquote_to_bytes(text[start:end].replace(b"+", b" ")))
        start = end
    return b"".join(parts)


def _of_form(text: bytes) -> JsonValue:
    """Read a field of a form: maps and lists in it are JSON."""
    try:
        return decode_json(text)
    except ValueError:
        return text.decode(errors="replace")
