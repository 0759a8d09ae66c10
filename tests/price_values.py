"""Values that are dear to read, compare or write, and fresh copies of them."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from rillflow.jsontypes import MAX_DEPTH
from rillflow.language.expressions.budget import DEFAULT_BUDGET, Meter
from rillflow.language.expressions.functions import FUNCTIONS
from rillflow.language.expressions.patterns import Pattern
from rillflow.language.expressions.values import ScriptSet

LONG: Final = 300_000
WIDE: Final = 2_000
LONG_INTEGER: Final = 10**4_199
"""As long as JSON from outside may hold one."""
SCRIPT_INTEGER: Final = 2**4_095 - 1
"""As long as a script may make one."""
MANY_GROUPS: Final = "(a?)" * 200
EMPTY_GROUPS: Final = "()" * 490
DOLLARS: Final = "\\$$1" * 5_000


def _long_text() -> str:
    return "".join(["x"] * LONG)


def nested(levels: int, item: Callable[[Any], Any], inside: Any = 1) -> Any:
    """Return a value in as many containers."""
    for _ in range(levels):
        inside = item(inside)
    return inside


JSON_VALUES: Final[Mapping[str, Callable[[], Any]]] = {
    "a number": lambda: 7,
    "a long integer": lambda: LONG_INTEGER + 0,
    "a double": lambda: 1.7976931348623157e308,
    "a long text": _long_text,
    "many digits": lambda: "1" * LONG,
    "many digits of a double": lambda: "1." + "0" * LONG,
    "as many digits as are read": lambda: "1" * 1_200,
    "blanks": lambda: " " * LONG,
    "wide characters": lambda: "字" * 50_000,
    "a text that nearly holds a part": lambda: "a" * 100_000,
    "a part that is nearly there": lambda: "a" * 62 + "b",
    "half of a long part": lambda: "a" * 5_000 + "b" + "a" * 5_000,
    "control characters": lambda: "\x01" * 50_000,
    "a regular expression of many groups": lambda: MANY_GROUPS,
    "a regular expression of empty groups": lambda: EMPTY_GROUPS,
    "a replacement": lambda: DOLLARS,
    "letters": lambda: "a" * 2_000,
    "a wide list": lambda: list(range(WIDE)),
    "a list of doubles": lambda: [0.1 * number for number in range(WIDE)],
    "a list of long integers": lambda: [LONG_INTEGER + number for number in range(50)],
    "a list of long texts": lambda: [_long_text()] * 50,
    "a list of short texts": lambda: ["x"] * WIDE,
    "a list of many digits": lambda: ["1" * 1_200] * 50,
    "a deep list": lambda: nested(60, lambda inside: [inside]),
    "a deeper list": lambda: nested(MAX_DEPTH - 1, lambda inside: [inside]),
    "a deep map": lambda: nested(60, lambda inside: {"a": inside}),
    "a wide map": lambda: {f"k{number}": number for number in range(WIDE)},
    "a map with a long key": lambda: {_long_text(): 1},
    "a list of maps with long keys": lambda: [{_long_text(): 1} for _ in range(5)],
}
"""What may come from outside; each call makes one that is equal to the others and not the same."""


def _predicates(levels: int) -> Any:
    meter = Meter({}, 0, DEFAULT_BUDGET)
    predicate = FUNCTIONS["seq.nil"].body(meter)
    for _ in range(levels):
        predicate = FUNCTIONS["seq.or"].body(meter, predicate, predicate)
    return predicate


def _set(members: list[Any]) -> ScriptSet:
    made, meter = ScriptSet(), Meter({}, 0, DEFAULT_BUDGET)
    for member in members:
        made.add(meter, member)
    return made


SCRIPT_VALUES: Final[Mapping[str, Callable[[], Any]]] = {
    **JSON_VALUES,
    "a long integer of a script": lambda: SCRIPT_INTEGER + 0,
    "a wide range": lambda: range(1 << 60),
    "a set of lists": lambda: _set([[number, "x" * 500] for number in range(100)]),
    "a set of a long text": lambda: _set([_long_text()]),
    "a list of integers of a script": lambda: [SCRIPT_INTEGER - number for number in range(500)],
    "a pattern of many groups": lambda: Pattern(MANY_GROUPS),
    "a pattern of empty groups": lambda: Pattern(EMPTY_GROUPS),
    "a pattern without an end": lambda: Pattern("(a*)*b"),
    "a built-in function": lambda: FUNCTIONS["cmp"],
    "predicates of predicates": lambda: _predicates(13),
}
"""What a script may make of it, besides."""
