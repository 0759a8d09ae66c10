"""Literals: the value of a text that is not a path (spec 2.4).

Sources of mappings, ``defaultContext`` values, time limits and the like. A text that is a number, a
boolean, an object or a list becomes one; everything else stays text.

Used by `core`, `definition`, `flow` and `language`.
"""

import re
from decimal import Decimal
from typing import Final

from rillflow.jsontypes import JsonValue
from rillflow.language.text.loose_json import JsonSyntaxError, read_json

_JAVA_BLANKS: Final = "".join(map(chr, range(0x21)))
_NUMBER: Final = re.compile(
    r"[+-]?(?:[0-9]+(?P<point>\.[0-9]*)?|(?P<bare>\.[0-9]+))([eE][+-]?[0-9]+)?"
)
_BOOLEANS: Final = {"true": True, "false": False}
_LONGEST_NUMBER: Final = 4_300
_LARGEST_EXPONENT: Final = 308
_WHOLE_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,15}")
_LARGEST: Final = 10**15


def parse_literal(text: str) -> JsonValue:
    """Read a literal.

    The text is trimmed for reading only. In this order it is: an object or a list, where
    field names may lack quotes and what follows the value is ignored; ``true`` or
    ``false`` in any case; a decimal number, a double when it has a point and else a whole
    number of any size (``1e3`` is 1000, a fraction below the point that an exponent makes
    is cut off); or the text itself, blanks included.

    Numbers that no double could hold (``1e400``) stay text, as does ``null``.

    Raises:
        BudgetExceededError: An object or list is nested too deeply, or is too long to be
            read with names without quotes.
    """
    trimmed = text.strip(_JAVA_BLANKS)
    if not trimmed:
        return text
    if trimmed[0] in "{[":
        try:
            return read_json(trimmed, "names")
        except JsonSyntaxError:
            return text
    if len(trimmed) <= len("false") and trimmed.lower() in _BOOLEANS:
        return _BOOLEANS[trimmed.lower()]
    number = _number(trimmed)
    return text if number is None else number


def whole_number(value: JsonValue) -> int | None:
    """Read an integer of at most 15 digits, also from text; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if abs(value) <= _LARGEST else None
    if isinstance(value, str):
        digits = value.strip()
        return int(digits) if _WHOLE_NUMBER.fullmatch(digits) else None
    return None


def _number(digits: str) -> int | float | None:
    if len(digits) > _LONGEST_NUMBER or digits[0] not in "+-.0123456789":
        return None
    match = _NUMBER.fullmatch(digits)
    if match is None:
        return None
    has_point = match["point"] is not None or match["bare"] is not None
    if not has_point and match[3] is None:
        return int(digits)
    if not _fits(digits):
        return None
    return (float(digits) or 0.0) if has_point else int(Decimal(digits))


def _fits(digits: str) -> bool:
    exponent = digits.lower().partition("e")[2]
    if len(exponent.lstrip("+-").lstrip("0")) > 6:
        return False
    return Decimal(digits).adjusted() <= _LARGEST_EXPONENT and abs(float(digits)) != float("inf")
