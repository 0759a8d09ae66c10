"""The value of a YAML scalar where no type is declared (spec 1.1.4).

The table is Rill Flow's, as measured: octal numbers with a leading zero, underscores between
digits, ``yes`` and ``off`` as booleans, but neither dates nor base 60. No YAML library is used,
because these follow other tables.

Used by `definition/canonical.py` and `definition/yaml_tree/nodes.py`.
"""

import math
import re
from typing import Final

from rillflow.jsontypes import JsonValue

NULLS: Final = frozenset(("", "~", "null", "Null", "NULL"))

# 3500 hexadecimal digits are the largest number that Python turns into decimal text.
_MAX_LENGTH: Final = 3500

_BOOLEANS: Final = {
    form: value
    for word, value in (
        ("true", True),
        ("yes", True),
        ("on", True),
        ("false", False),
        ("no", False),
        ("off", False),
    )
    for form in (word, word.title(), word.upper())
}
_NUMBER_STARTS: Final = frozenset("+-.0123456789")
_DECIMAL: Final = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)")
_BASED: Final = re.compile(
    r"(?P<sign>[-+]?)0(?:b_*(?P<binary>[01][01_]*)|x_*(?P<hex>[0-9a-fA-F][0-9a-fA-F_]*)"
    r"|(?P<octal>[0-7_]+))"
)
_FLOAT: Final = re.compile(
    r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|[0-9][0-9_]*(?=[eE])|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?"
)
_NOT_FINITE: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_BASES: Final = {"binary": 2, "hex": 16, "octal": 8}


def resolve_plain(text: str) -> JsonValue:
    """Give the value of a plain (unquoted) scalar.

    ``1e400`` is larger than any float and stays text, as in literals (spec 2.4).

    Raises:
        ValueError: The scalar has no JSON value: an infinity, not a number, or an
            number of more than 3500 digits.
    """
    if text in NULLS:
        return None
    if text[0] in _NUMBER_STARTS:
        return _resolve_number(text)
    return _BOOLEANS.get(text, text)


def resolve_tagged(text: str, tag: str) -> JsonValue:
    """Give the value of a scalar with an explicit tag; an unknown tag leaves the text.

    Args:
        text: The scalar's text.
        tag: Last part of the standard tag, for example ``int`` for ``!!int``.

    Raises:
        ValueError: As in ``resolve_plain``.
    """
    if tag == "null":
        return None
    if tag not in ("int", "float", "bool"):
        return text
    value = resolve_plain(text) if text else ""
    if tag == "bool":
        return value if isinstance(value, bool) else text
    if isinstance(value, bool) or not isinstance(value, int | float):
        return text
    return float(value) if tag == "float" else value


def _resolve_number(text: str) -> JsonValue:
    if _DECIMAL.fullmatch(text):
        return int(_digits(text))
    if match := _BASED.fullmatch(text):
        kind = match.lastgroup or ""
        return int(_digits(match["sign"] + "0" + match[kind]), _BASES[kind])
    if _FLOAT.fullmatch(text):
        value = float(_digits(text))
        return value if math.isfinite(value) else text
    if _NOT_FINITE.fullmatch(text):
        raise ValueError(f"{text} is not a finite number")
    return text


def _digits(text: str) -> str:
    if len(text) > _MAX_LENGTH:
        raise ValueError(f"a number of {len(text)} digits is too long")
    return text.replace("_", "")
