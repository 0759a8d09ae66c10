"""Conversion of values to text and JSON, and of text to numbers.

Used by `language/expressions`, and in it by `closures` and `functions`.
"""

import math
import re
from decimal import Decimal
from typing import Final

from rillflow.errors import BudgetExceededError, ExpressionError
from rillflow.jsontypes import MAX_DEPTH, JsonObject, JsonValue, encode_json
from rillflow.language.budget import CHARACTERS_PER_STEP, LONGEST_NUMBER, WIDE_CHARACTER_BYTES
from rillflow.language.expressions.budget import (
    INTEGER_BITS_PER_STEP,
    Meter,
)
from rillflow.language.expressions.patterns import Pattern
from rillflow.language.expressions.values import (
    HASH_BITS,
    ScriptSet,
    Value,
    is_integer,
    size_of,
    type_of,
)
from rillflow.language.versions import COSTS_CHARGED, MEMORY_CHARGED

_CONSTANT_TEXTS: Final = {None: "null", True: "true", False: "false"}
_DOUBLE_STEPS: Final = 5
_ENTRIES_PER_STEP: Final = 2048  # of a map, if a look-up meets all of them
_PLAIN_DOUBLES: Final = (1e-3, 1e7)
_DOUBLE: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def text_bytes(text: str) -> int:
    """Return the largest memory of a text, whatever it contains."""
    return len(text) if text.isascii() else len(text) * WIDE_CHARACTER_BYTES


def text_of(meter: Meter, value: Value) -> str:
    """Return the text of a value in a concatenation.

    The text of a collection is charged. Doubles have Java's notation (``1.0``, ``1.0E10``), lists
    and maps are compact JSON (spec Q65), nil is ``null``.

    Raises:
        ExpressionError: The value is a function.
        BudgetExceededError: It is too large or nested too deeply.
    """
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool):
        return _CONSTANT_TEXTS[value]
    if isinstance(value, int):
        meter.work(value.bit_length() // INTEGER_BITS_PER_STEP)
        return str(meter.check_integer(value))
    if isinstance(value, float):
        meter.work(_DOUBLE_STEPS)
        return double_text(value)
    return value.source if isinstance(value, Pattern) else json_text(meter, value)


def json_text(meter: Meter, value: Value) -> str:
    """Return a list, map, set or range as compact JSON; all of its text is charged first.

    Raises:
        ExpressionError: It contains what is not JSON.
        BudgetExceededError: It is nested too deeply, or would be too long.
    """
    if meter.language < MEMORY_CHARGED:
        return encode_json(to_json(meter, value, meter.budget.nesting)).decode()
    plain = to_json(meter, value, meter.budget.nesting, longest=meter.budget.string_length)
    text = encode_json(plain).decode()
    meter.make_text(len(text))
    return text


def double_text(value: float) -> str:
    """Return a double as Java's ``Double.toString`` writes it.

    >>> double_text(12345678.0)
    '1.2345678E7'
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    low, high = _PLAIN_DOUBLES
    if value == 0 or low <= abs(value) < high:
        return repr(value)
    sign, digits, _ = Decimal(repr(value)).normalize().as_tuple()
    exponent = Decimal(repr(value)).adjusted()
    fraction = "".join(map(str, digits[1:])) or "0"
    return f"{'-' * sign}{digits[0]}.{fraction}E{exponent}"


def parse_double(meter: Meter, text: str) -> float | None:
    """Read a decimal number, with blanks around it as Java allows; None is no number.

    More than 1,200 characters are none since the version ``COSTS_CHARGED``.
    """
    if len(text) > LONGEST_NUMBER and meter.language >= COSTS_CHARGED:
        return None
    match = _DOUBLE.fullmatch(text.strip())
    return float(match.group()) if match else None


def key_of(meter: Meter, value: Value, size: int = 0) -> str | int:
    """Return the map key of a value: strings and small integers as they are, else the text.

    ``size`` is that of the map. Integers can be chosen so that a look-up visits as many entries as
    there are in a row, which is charged; the places of strings cannot be predicted.

    Raises:
        ExpressionError: The value cannot be a key.
    """
    if isinstance(value, str):
        if len(value) > CHARACTERS_PER_STEP:
            meter.cost(len(value) // CHARACTERS_PER_STEP)  # equal keys are compared completely
        return value
    if is_integer(value) and value.bit_length() < HASH_BITS:
        if size > _ENTRIES_PER_STEP:
            meter.cost(size // _ENTRIES_PER_STEP)
        return int(value)
    if value is None or isinstance(value, bool | int | float):
        return text_of(meter, value)
    raise ExpressionError(f"a {type_of(value)} cannot be the key of a map")


def to_json(
    meter: Meter, value: Value, nesting: int = MAX_DEPTH, *, longest: int | None = None
) -> JsonValue:
    """Return the value as plain JSON: sets and ranges are lists, keys are strings.

    What its JSON text takes is charged, also where parts are shared: a list may hold the
    same long text a thousand times. With ``longest`` that text may not be longer.

    Raises:
        ExpressionError: It is, or contains, a function, a pattern, NaN or infinity.
        BudgetExceededError: It is nested deeper than ``nesting``, or too large.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return meter.check_integer(value)
    if isinstance(value, float):
        return _finite(value)
    if nesting == 0:
        raise BudgetExceededError("a value is nested too deeply")
    return _Plain(meter, longest).collection(value, nesting - 1)


def _finite(value: float) -> float:
    if math.isfinite(value):
        return value
    raise ExpressionError(f"{double_text(value)} is not a number of JSON")


class _Plain:
    """Makes plain JSON of collections, and charges the text of that JSON on the way."""

    __slots__ = ("_longest", "_meter", "_text")

    def __init__(self, meter: Meter, longest: int | None) -> None:
        self._meter = meter
        self._longest = longest
        self._text = 0

    def collection(self, value: Value, nesting: int) -> JsonValue:
        meter = self._meter
        if isinstance(value, dict):
            meter.make_elements(len(value))
            plain: JsonObject = {}
            for key, item in value.items():
                name = key if isinstance(key, str) else str(key)
                self._take(name)
                plain[name] = self._item(item, nesting)
            return plain
        if isinstance(value, list | range | ScriptSet):
            meter.make_elements(size_of(value, "JSON"))
            items: list[JsonValue] = []
            for item in value:  # no comprehension: it would take a frame more for every level
                items.append(self._item(item, nesting))  # noqa: PERF401
            return items
        raise ExpressionError(f"a {type_of(value)} is not a value of JSON")

    def _item(self, value: Value, nesting: int) -> JsonValue:
        if isinstance(value, str):
            self._take(value)
            return value
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            return self._meter.check_integer(value)
        if isinstance(value, float):
            return _finite(value)
        if nesting == 0:
            raise BudgetExceededError("a value is nested too deeply")
        return self.collection(value, nesting - 1)

    def _take(self, text: str) -> None:
        self._text += len(text)
        if self._longest is not None and self._text > self._longest:
            raise BudgetExceededError(f"a string would be longer than {self._longest} characters")
        self._meter.take_memory(text_bytes(text))


def private_copy(meter: Meter, value: Value, nesting: int = MAX_DEPTH) -> Value:
    """Copy a value given from outside, so that the script may change it.

    Raises:
        BudgetExceededError: It is nested too deeply, or too large.
    """
    if not isinstance(value, list | dict):
        return value
    if nesting == 0:
        raise BudgetExceededError("a value is nested too deeply")
    meter.make_elements(len(value))
    if isinstance(value, dict):
        copied = {}
        for key, item in value.items():
            copied[key] = private_copy(meter, item, nesting - 1)
        return copied
    items = []
    for item in value:  # no comprehension: it would take a frame more for every level
        items.append(private_copy(meter, item, nesting - 1))  # noqa: PERF401
    return items
