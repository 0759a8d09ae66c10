"""JSON value types, and how JSON text is read and written.

Values are treated as immutable once they are shared: code that changes a
container first copies it (copy on write, see ``language.mapping.targets``), so contexts,
inputs and outputs may share structure without ever seeing each other's edits.

Used by most packages.
"""

import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from math import isfinite
from typing import Any, Final, NamedTuple, NoReturn, TypeAlias

import msgspec
from typing_extensions import TypeAliasType

JsonValue = TypeAliasType(
    "JsonValue", "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
)
JsonObject: TypeAlias = dict[str, JsonValue]
ReadonlyJsonObject: TypeAlias = Mapping[str, JsonValue]

EMPTY_OBJECT: Final = b"{}"
MAX_DEPTH: Final = 200
MAX_VALUES: Final = 300_000
"""How many values a text from outside may hold; a list or object counts as four, a key as two.

More of them would hold an event loop for too long, whatever is done with them. A list or object
takes several times as long as a number or text.
"""
LONG_NUMBER: Final = 40
"""Numbers of more digits than this are long."""
MAX_LONG_DIGITS: Final = 20_000
"""How many digits the long numbers of a text from outside may have together.

To read and write a number takes the square of its length. Digits are counted in pieces of 41, and
what is left of a number is not.
"""
NEVER_TOO_MUCH_BYTES: Final = min(MAX_LONG_DIGITS, MAX_VALUES)
"""A text of no more bytes has too much of nothing, whatever it holds."""

_NULL_LENGTH: Final = 4
_CONTAINER_WEIGHT: Final = 3
_KEY_WEIGHT: Final = 2
_WEIGHT_OF_VALUE: Final = 2
_VALUE_BYTES: Final = 32
MOST_WEIGHT_OF_BYTE: Final = _WEIGHT_OF_VALUE * _CONTAINER_WEIGHT
"""No text weighs more for each of its bytes; see ``weight_of``."""
_PART_BYTES: Final = 1 << 20
_PART_CHARACTERS: Final = 256 * 1024
_ENTRY_CHARACTERS: Final = 8
"""What the mark and value of an entry take that is no text, about."""
LIGHT_BYTES: Final = 4096
"""A text of up to so many bytes weighs its length, and is not decoded ahead."""
_FEW_NUMBERS: Final = 100
_FEW_LONG_NUMBERS: Final = 10_000
_ALL_BYTES: Final = bytes(range(256))
_NOT_BRACKETS: Final = _ALL_BYTES.translate(None, b'"[]{}')
_NOT_SEPARATORS: Final = _ALL_BYTES.translate(None, b'",:[{')
_DIGITS: Final = bytes(ord("0") if char in b"0123456789" else 0 for char in range(256))
_DIGITS_AND_DOTS: Final = bytes(ord("0") if char in b".0123456789" else 0 for char in range(256))
_LONG_PIECE: Final = b"0" * (LONG_NUMBER + 1)
_INEXACT_PIECE: Final = b"0" * 21
_STEPS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_STEP_PAIR: Final = b"\x01\xff"
_EXPONENTS: Final = bytes.maketrans(b"123456789E", b"000000000e")


class DecodedEarly(NamedTuple):
    """A text that was decoded before its time; the text is held, since it is known by identity.

    ``error`` says why it is no JSON, None if it is. ``weight`` is that of ``weight_of``, None if it
    was not counted.
    """

    text: bytes
    value: JsonValue
    error: str | None = None
    weight: int | None = None


_ahead: dict[int, DecodedEarly] = {}

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()
_entries = msgspec.json.Decoder(dict[str, msgspec.Raw])
_texts = msgspec.json.Decoder(str)
_elements = msgspec.json.Decoder(list[msgspec.Raw])


def encode_json(value: object) -> bytes:
    """Encode a JSON value compactly; integers of any size stay exact."""
    return _encoder.encode(value)


def encoded_parts(value: JsonValue) -> Iterator[bytes]:
    """Encode a JSON value part by part; a part is one long text, or some hundred kilobytes.

    The encoder holds the interpreter until it is done, so what may be very large is encoded in
    parts by a thread, between which the event loop has its turns.
    """
    if not isinstance(value, list | dict) or _size_of(value) <= _PART_CHARACTERS:
        yield _encoder.encode(value)
        return
    is_map = isinstance(value, dict)
    separator = b"{" if is_map else b"["
    for first, entry, size in _runs(value):
        yield separator
        if size <= _PART_CHARACTERS:
            yield _encoder.encode(entry)[1:-1]
        elif isinstance(entry, dict):
            yield _encoder.encode(first) + b":"
            yield from encoded_parts(entry[str(first)])
        else:
            yield from encoded_parts(entry[0])
        separator = b","
    yield b"}" if is_map else b"]"


def _runs(value: list[JsonValue] | JsonObject) -> Iterator[tuple[object, Any, int]]:
    """Divide a container into containers of few entries, each with its first key and its size."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    make: Any = dict if isinstance(value, dict) else _elements_of
    run: list[tuple[object, JsonValue]] = []
    together = 0
    for key, entry in pairs:
        size = _ENTRY_CHARACTERS + _size_of(entry) + (len(key) if isinstance(key, str) else 0)
        if run and together + size > _PART_CHARACTERS:
            yield run[0][0], make(run), together
            run, together = [], 0
        run.append((key, entry))
        together += size
    if run:
        yield run[0][0], make(run), together


def _elements_of(run: list[tuple[object, JsonValue]]) -> list[JsonValue]:
    return [entry for _, entry in run]


def _size_of(value: JsonValue) -> int:
    """Return about how many characters a value has; of what has many more, not all are counted."""
    size, waiting = 0, [value]
    while waiting and size <= _PART_CHARACTERS:
        each = waiting.pop()
        if isinstance(each, str):
            size += len(each)
        elif isinstance(each, list | dict):
            size += _ENTRY_CHARACTERS * len(each)
            if size <= _PART_CHARACTERS:
                size += sum(map(len, each)) if isinstance(each, dict) else 0
                waiting += each.values() if isinstance(each, dict) else each
        elif isinstance(each, int):
            size += each.bit_length() // 3
    return size


def decode_json(text: bytes | str) -> JsonValue:
    """Decode JSON text, in time proportional to its length.

    Raises:
        ValueError: The text is not JSON, or nested deeper than ``MAX_DEPTH``
            (``NaN`` and lone surrogates count as not JSON).
    """
    if isinstance(text, str):
        text = text.encode()
    length = len(text)
    if _ahead and (known := _known_of(text)) is not None:
        if known.error is not None:
            raise ValueError(known.error)
        return known.value
    if length > MAX_DEPTH:
        _refuse_deep(text)
    if length > LIGHT_BYTES and _has_slow_numbers(text):
        return _decode_slow_numbers(text)
    value: JsonValue = _decoder.decode(text)
    return value


def decode_text(text: bytes) -> str:
    """Decode JSON text that is one string.

    Raises:
        ValueError: It is not.
    """
    return _texts.decode(text)


def _known_of(text: bytes) -> DecodedEarly | None:
    return _ahead.get(id(text)) if _ahead and len(text) > LIGHT_BYTES else None


def _refuse_deep(text: bytes) -> None:
    if text.count(b"[") + text.count(b"{") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        raise ValueError(f"JSON is nested deeper than {MAX_DEPTH} levels")


def decode_entries(text: bytes) -> dict[str, msgspec.Raw] | None:
    """Decode a JSON object whose values stay text; return None for another value.

    Text takes a fraction of the time and memory of values, and what is only passed on need not be
    decoded at all.

    Raises:
        ValueError: As ``decode_json``.
    """
    _refuse_deep(text)
    try:
        return _entries.decode(text)
    except msgspec.ValidationError:
        return None


def is_object(text: msgspec.Raw) -> bool:
    """Tell whether the text of a value is that of an object."""
    return bytes(memoryview(text)[:1]) == b"{"


def is_null(text: msgspec.Raw) -> bool:
    """Tell whether the text of a value is null."""
    return len(memoryview(text)) == _NULL_LENGTH and bytes(text) == b"null"


def text_without_nulls(text: msgspec.Raw) -> bytes:
    """Return the text of a value without null entries of maps, at any level.

    What is large is decoded in parts, so that a thread that does it lets others run in between.
    """
    view = memoryview(text)
    start = bytes(view[:1])
    if len(view) <= LIGHT_BYTES or start not in (b"{", b"["):
        return _encoder.encode(_without_nulls(decode_json(bytes(view))))
    if start == b"[":
        return b"[%b]" % b",".join(map(text_without_nulls, _elements.decode(view)))
    entries = (
        b"%b:%b" % (_encoder.encode(key), text_without_nulls(value))
        for key, value in _entries.decode(view).items()
        if not is_null(value)
    )
    return b"{%b}" % b",".join(entries)


def _without_nulls(value: JsonValue) -> JsonValue:
    if isinstance(value, dict):
        return {key: _without_nulls(entry) for key, entry in value.items() if entry is not None}
    if isinstance(value, list):
        return [_without_nulls(entry) for entry in value]
    return value


def ahead_of(text: bytes, *, weighed: bool = False) -> DecodedEarly:
    """Decode a text before its time, and perhaps weigh it, in a thread perhaps."""
    weight = weight_of(text) if weighed else None
    try:
        return DecodedEarly(text, decode_json(text), weight=weight)
    except ValueError as error:
        return DecodedEarly(text, None, str(error), weight)


@contextmanager
def decoded_ahead(texts: Sequence[DecodedEarly]) -> Iterator[None]:
    """Let ``decode_json`` return, or raise, what came of these texts, of the very same objects.

    ``weight_of`` returns what they weigh. They have passed ``why_too_much`` where they came in.
    """
    _ahead.update((id(each.text), each) for each in texts)
    try:
        yield
    finally:
        for each in texts:
            _ahead.pop(id(each.text), None)


def is_ahead(text: bytes) -> bool:
    """Tell whether it is known what comes of a text."""
    return _known_of(text) is not None


def decode_untrusted_json(text: bytes | str) -> JsonValue:
    """Decode JSON text from outside.

    Raises:
        ValueError: As ``decode_json``, or it holds more than may be handled at once.
    """
    if isinstance(text, str):
        text = text.encode()
    is_checked = len(text) <= NEVER_TOO_MUCH_BYTES or is_ahead(text)
    reason = None if is_checked else why_too_much(text)
    if reason is not None:
        raise ValueError(f"JSON cannot be handled: {reason}")
    return decode_json(text)


def why_too_much(text: bytes) -> str | None:
    """Say what a text from outside has too much of, if it is JSON; None if nothing."""
    if has_too_many_values(text):
        return f"it holds more than {MAX_VALUES} values"
    if len(text) > NEVER_TOO_MUCH_BYTES and _long_digits(text) > MAX_LONG_DIGITS:
        return f"its numbers of more than {LONG_NUMBER} digits have over {MAX_LONG_DIGITS} together"
    return None


def why_too_much_together(texts: Sequence[bytes]) -> str | None:
    """Say what the texts of one message have too much of together, as ``why_too_much`` does.

    They are counted one by one: a quotation mark that is missing in one hides nothing of the next.
    """
    if sum(map(len, texts)) <= NEVER_TOO_MUCH_BYTES:
        return None
    if sum(count_of_values(text, 0) for text in texts) > MAX_VALUES:
        return f"together its texts hold more than {MAX_VALUES} values"
    if sum(_long_digits(text, 0) for text in texts) > MAX_LONG_DIGITS:
        return (
            f"the numbers of more than {LONG_NUMBER} digits in its texts have over"
            f" {MAX_LONG_DIGITS} together"
        )
    return None


def has_too_many_values(text: bytes) -> bool:
    """Tell whether a text holds more than ``MAX_VALUES`` values, if it is JSON."""
    return count_of_values(text, MAX_VALUES) > MAX_VALUES


def count_of_values(text: bytes, enough: int) -> int:
    """Count the values of a text, if it is JSON; a list or object counts as four, a key as two.

    Args:
        text: What to count in.
        enough: What is no more than this need not be exact.
    """
    if len(text) <= enough:
        return 0
    count = _weighed(text)
    return count if count <= enough else _weighed(_outside_strings(text, _NOT_SEPARATORS))


def weight_of(text: bytes) -> int:
    """Return the length of a text, or twice its values where these are more.

    A value takes memory whatever its length: ``[],`` is three bytes of text and 80 of memory, and
    weighs eight. Texts of up to 4 KiB weigh their length.
    """
    length = len(text)
    if length <= LIGHT_BYTES:
        return length
    known = _known_of(text)
    if known is not None and known.weight is not None:
        return known.weight
    return max(length, _WEIGHT_OF_VALUE * count_of_values(text, length // _WEIGHT_OF_VALUE))


def weight_ahead(text: bytes) -> int:
    """Return what a text weighs, if it was weighed ahead; else 0."""
    known = _known_of(text)
    return (known.weight or 0) if known is not None else 0


def most_weight_of(text: bytes) -> int:
    """Return what a record or snapshot weighs at most: characters within strings count, too.

    It need not be JSON. What is long is counted part by part, so that a thread that counts lets
    the event loop run in between.
    """
    length = len(text)
    if length <= LIGHT_BYTES:
        return length
    starts = range(0, length, _PART_BYTES)
    values = sum(_weighed(text[start : start + _PART_BYTES]) for start in starts)
    return max(length, _WEIGHT_OF_VALUE * values)


def memory_of(text: bytes) -> int:
    """Estimate the memory of what a text holds as JSON; marks in strings count as others do."""
    containers = text.count(b"[") + text.count(b"{")
    return len(text) + _VALUE_BYTES * (text.count(b",") + text.count(b":") + 2 * containers)


def _weighed(marks: bytes) -> int:
    """Count commas, colons, and what containers weigh beyond the place that each of them takes."""
    containers = marks.count(b"[") + marks.count(b"{")
    return marks.count(b",") + _KEY_WEIGHT * marks.count(b":") + _CONTAINER_WEIGHT * containers


def _long_digits(text: bytes, enough: int = MAX_LONG_DIGITS) -> int:
    """Count the digits of all long numbers outside of strings, in whole pieces.

    Args:
        text: What to count in.
        enough: What is no more than this need not be exact.
    """
    count = text.translate(_DIGITS).count(_LONG_PIECE) * len(_LONG_PIECE)
    if count <= enough:
        return count
    numbers = _outside_strings(text, b"").translate(_DIGITS)
    return numbers.count(_LONG_PIECE) * len(_LONG_PIECE)


def _depth(text: bytes) -> int:
    steps = _outside_strings(text, _NOT_BRACKETS).translate(_STEPS)
    # Most containers hold no others: these are one level, whatever their number.
    others = steps.replace(_STEP_PAIR, b"")
    deepest = max(accumulate(array("b", others)), default=0)
    return deepest + (len(others) < len(steps))


def _outside_strings(text: bytes, dropped: bytes) -> bytes:
    """Return the characters outside of strings, without those that are to be dropped.

    Each step passes over the text once, whatever it holds.
    """
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    marks = text.translate(None, dropped).replace(b'""', b"")
    return b"".join(marks.split(b'"')[::2])


def _has_slow_numbers(text: bytes) -> bool:
    """Tell whether many numbers have exponents of three digits, or many more than 20 digits.

    The decoder takes up to 8 us for one of the former, and 1 us for one of the latter that lies
    between two floats. Others take 50 ns.
    """
    if text.translate(_EXPONENTS, b"+-").count(b"e000") > _FEW_NUMBERS:
        return True
    return text.translate(_DIGITS_AND_DOTS).count(_INEXACT_PIECE) > _FEW_LONG_NUMBERS


def _decode_slow_numbers(text: bytes) -> JsonValue:
    """Decode with a call for each number, between which other threads have their turns."""
    value: JsonValue = json.loads(
        text.decode(), parse_float=_finite, parse_int=_whole, parse_constant=_refuse_constant
    )
    _encoder.encode(value)
    return value


def _whole(digits: str) -> int:
    return int(digits)


def _finite(digits: str) -> float:
    number = float(digits)
    if not isfinite(number):
        raise ValueError("a number of JSON is out of range")
    return number


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")
