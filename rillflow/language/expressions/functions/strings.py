"""The namespace ``string``. Positions count characters from 0.

Used by `language/expressions/functions`.
"""

from typing import Final

from rillflow.errors import ExpressionError
from rillflow.language.expressions import patterns
from rillflow.language.expressions.budget import Meter
from rillflow.language.expressions.functions.library import (
    Library,
    integer_argument,
    string_argument,
)
from rillflow.language.expressions.texts import text_of
from rillflow.language.expressions.values import Value, elements_of, shown_integer

STRING_FUNCTIONS: Final = Library()
_declare: Final = STRING_FUNCTIONS.function


@_declare("string.length")
def length(_meter: Meter, text: Value) -> int:
    """Return the number of characters."""
    return len(string_argument(text, "string.length"))


@_declare("string.contains")
def contains(meter: Meter, text: Value, part: Value) -> bool:
    """Tell whether the part occurs in the text."""
    return index_of(meter, text, part) >= 0


@_declare("string.indexOf")
def index_of(meter: Meter, text: Value, part: Value) -> int:
    """Return where the part occurs first, or -1."""
    whole = string_argument(text, "string.indexOf")
    wanted = string_argument(part, "string.indexOf")
    # find() takes at worst the product of the lengths for unlucky pairs
    meter.read_text(len(whole) * (1 + min(len(wanted), 64) // 8))
    return whole.find(wanted)


@_declare("string.startsWith")
def starts_with(meter: Meter, text: Value, part: Value) -> bool:
    """Tell whether the text begins with the part."""
    wanted = string_argument(part, "string.startsWith")
    meter.read_text(len(wanted))
    return string_argument(text, "string.startsWith").startswith(wanted)


@_declare("string.endsWith")
def ends_with(meter: Meter, text: Value, part: Value) -> bool:
    """Tell whether the text ends with the part."""
    wanted = string_argument(part, "string.endsWith")
    meter.read_text(len(wanted))
    return string_argument(text, "string.endsWith").endswith(wanted)


@_declare("string.substring")
def substring(meter: Meter, text: Value, start: Value, end: Value = None) -> str:
    """Return the characters from ``start`` to before ``end``, or to the end of the text.

    Raises:
        ExpressionError: A position is outside the text, or the end before the start.
    """
    whole = string_argument(text, "string.substring")
    first = integer_argument(start, "string.substring")
    last = len(whole) if end is None else integer_argument(end, "string.substring")
    if not 0 <= first <= last <= len(whole):
        raise ExpressionError(
            f"string.substring from {shown_integer(first)} to {shown_integer(last)}"
            f" of a text of {len(whole)} characters"
        )
    meter.make_text(last - first, wide=not whole.isascii())
    return whole[first:last]


@_declare("string.split")
def split(meter: Meter, text: Value, pattern: Value, limit: Value = 0) -> list[str]:
    """Split at matches of a regular expression, as Java's ``String.split``."""
    return patterns.split(
        meter,
        string_argument(text, "string.split"),
        string_argument(pattern, "string.split"),
        integer_argument(limit, "string.split"),
    )


@_declare("string.join")
def join(meter: Meter, values: Value, separator: Value = "") -> str:
    """Join the texts of the elements."""
    between = string_argument(separator, "string.join")
    if values is None:
        raise ExpressionError("string.join needs a list and not a nil")
    texts: list[str] = []
    for value in elements_of(meter, values, "string.join"):
        meter.work(2)
        texts.append(text_of(meter, value))
        meter.make_text(len(texts[-1]) + len(between))
    wide = not (between.isascii() and all(map(str.isascii, texts)))
    meter.make_text(sum(map(len, texts)) + len(between) * len(texts), wide=wide)
    return between.join(texts)


@_declare("string.replace_first")
def replace_first(meter: Meter, text: Value, pattern: Value, replacement: Value) -> str:
    """Replace the first match of a regular expression; ``$1`` stands for a group."""
    return patterns.replace(
        meter,
        string_argument(text, "string.replace_first"),
        string_argument(pattern, "string.replace_first"),
        string_argument(replacement, "string.replace_first"),
        once=True,
    )


@_declare("string.replace_all")
def replace_all(meter: Meter, text: Value, pattern: Value, replacement: Value) -> str:
    """Replace every match of a regular expression; ``$1`` stands for a group."""
    return patterns.replace(
        meter,
        string_argument(text, "string.replace_all"),
        string_argument(pattern, "string.replace_all"),
        string_argument(replacement, "string.replace_all"),
        once=False,
    )
