"""The comparison operators of filters (spec 2.8, Jayway JsonPath 2.8.0).

Operands are JSON values, or one of three things that exist in filters only: ``UNDEFINED`` for a
path without a result, a ``Pattern``, and a ``ListLiteral`` for a list or map written in the filter.
The left operand decides how values of different types are compared: text with a number as text
(``"0" == 0``), a number with text as numbers (``1 == "1.0"``).

Jayway also interprets list elements that look like paths or JSON, so that ``"$.a" in ["$.a"]`` is
false there; here text is text.

Used by `language/jsonpath`.
"""

import operator
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final, TypeAlias

import re2

from rillflow.errors import (
    PathEvaluationError,
    PathFunctionError,
    PathSyntaxError,
    PathUnsupportedError,
)
from rillflow.jsontypes import JsonValue
from rillflow.language.budget import CHARACTERS_PER_STEP, LONGEST_NUMBER, Budget, search_steps
from rillflow.language.text.regular_expressions import compile_program

_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+(\.[0-9]*)?|(\.[0-9]+))([eE][+-]?[0-9]+)?")
_INSTRUCTIONS_PER_STEP: Final = 100
_MATCH_STEPS: Final = 6
_DOUBLE_STEPS: Final = 5
_WORD_BITS: Final = 64
_SQUARED_WORDS_PER_STEP: Final = 256
_UNSUPPORTED_FLAGS: Final = "xU"
_INLINE_FLAGS: Final = "ms"
_BROKEN: Final = (b"missing", b"unexpected )", b"no argument for repetition", b"trailing")
"""The beginnings of RE2's messages about patterns that Java refuses as well."""


class Undefined:
    """The value of a path without a result; equal to nothing, not even itself."""


UNDEFINED: Final = Undefined()


class ListLiteral:
    """A list or map written in a filter; as the left operand it equals nothing."""

    __slots__ = ("value",)

    def __init__(self, value: JsonValue) -> None:
        self.value = value


class Pattern:
    """A regular expression of RE2, which takes time linear in the text.

    Java's flags ``i``, ``m``, ``s``, ``d`` and ``u`` are understood.

    Raises:
        PathUnsupportedError: RE2 does not know a construct (look-around, back-references,
            possessive quantifiers) or the flag, and Java does.
        PathSyntaxError: It is no regular expression.
        BudgetExceededError: It is too complex.
    """

    __slots__ = ("_expression", "_size")

    def __init__(self, source: str, flags: str) -> None:
        inline = "".join(flag for flag in _INLINE_FLAGS if flag in flags)
        if any(flag in flags for flag in _UNSUPPORTED_FLAGS):
            raise PathUnsupportedError(f"unsupported flag of a regular expression: {flags}")
        try:
            full = f"(?{inline}:{source})" if inline else source
            self._expression, self._size = compile_program(
                full, ignores_case="i" in flags, captures=False
            )
        except re2.error as error:
            kind = PathSyntaxError if _is_broken(error) else PathUnsupportedError
            raise kind(f"unsupported regular expression /{source}/: {error}") from error

    @property
    def size(self) -> int:
        """Instructions of its program."""
        return self._size

    def matches(self, text: str, budget: Budget) -> bool:
        """Tell whether the whole text matches; charged by RE2's slowest engine."""
        budget.cost(_MATCH_STEPS)
        if budget.charges_all:
            budget.spend(len(text) * self._size // _INSTRUCTIONS_PER_STEP)
        else:
            budget.spend(len(text) // CHARACTERS_PER_STEP)
        return self._expression.fullmatch(text) is not None


def _is_broken(error: re2.error) -> bool:
    """Tell whether a pattern is invalid in Java too, and not only unsupported by RE2."""
    message: bytes = error.args[0]
    return message.startswith(_BROKEN)


Operand: TypeAlias = JsonValue | Undefined | ListLiteral | Pattern
Operator: TypeAlias = Callable[[Operand, Operand, Budget], bool]


def is_number(value: object) -> bool:
    """Tell whether a value is a JSON number; booleans are not."""
    return type(value) is int or type(value) is float


def number_text(value: object) -> str:
    """Write a number as Java's ``BigDecimal`` does: ``1.0``, ``1.0E+10``, ``0.00010``.

    Raises:
        PathFunctionError: The number has thousands of digits.
    """
    if not isinstance(value, float):
        return _whole_text(value)
    if not value:
        return "0.0"
    sign, digits, exponent = Decimal(repr(value)).as_tuple()
    plain = "".join(map(str, digits)).rstrip("0") or "0"
    magnitude = len(digits) + int(exponent) - 1
    if -3 <= magnitude < 7:
        return repr(value)
    minus = "-" if sign else ""
    return str(Decimal(f"{minus}{plain[0]}.{plain[1:] or '0'}E{magnitude}"))


def _whole_text(value: object) -> str:
    try:
        return str(value)
    except ValueError as error:
        raise PathFunctionError("a number is too long to be compared as text") from error


def parse_number(text: str) -> int | float | None:
    """Read a decimal number as Java's ``BigDecimal`` does, or return None."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    try:
        return float(text) if any(match.groups()) else int(text)
    except ValueError:
        return None


def text_of_number(value: object, budget: Budget) -> str:
    """Write a number as ``number_text`` does; a long one takes the square of its length.

    Raises:
        PathFunctionError: The number has thousands of digits.
        BudgetExceededError: The path visits too many values.
        WorkLimitError: Nothing is left of the total.
    """
    if isinstance(value, float):
        budget.cost(_DOUBLE_STEPS)
    elif isinstance(value, int) and value.bit_length() > _WORD_BITS:
        words = value.bit_length() // _WORD_BITS
        budget.cost(words + words * words // _SQUARED_WORDS_PER_STEP)
    return number_text(value)


def _number_of(text: str, budget: Budget) -> int | float | None:
    """Read a number of a text; a long text is none since the version ``COSTS_CHARGED``."""
    if len(text) > CHARACTERS_PER_STEP and budget.charges_costs:
        if len(text) > LONGEST_NUMBER:
            return None
        budget.spend(len(text) // CHARACTERS_PER_STEP)
    return parse_number(text)


def same_json(left: JsonValue, right: JsonValue, budget: Budget) -> bool:
    """Tell whether two values have the same structure; 1, 1.0 and true are all different."""
    pairs = [(left, right)]
    while pairs:
        one, other = pairs.pop()
        budget.spend()
        if type(one) is not type(other):
            return False
        inside = _pairs(one, other, budget)
        if inside is None:
            return False
        pairs.extend(inside)
    return True


def _pairs(
    one: JsonValue, other: JsonValue, budget: Budget
) -> list[tuple[JsonValue, JsonValue]] | None:
    """Return what is still to be compared of two values of one type, None if they differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        budget.work(len(one))
        if budget.charges_costs:
            budget.spend(sum(map(len, one)) // CHARACTERS_PER_STEP)
        return [(one[key], other[key]) for key in one] if one.keys() == other.keys() else None
    if isinstance(one, list) and isinstance(other, list):
        budget.work(len(one))
        return list(zip(one, other, strict=True)) if len(one) == len(other) else None
    if isinstance(one, str) and isinstance(other, str):
        return [] if _same_text(one, other, budget) else None
    return [] if one == other else None


def _same_text(left: str, right: str, budget: Budget) -> bool:
    if len(left) != len(right):
        return False
    if len(left) > CHARACTERS_PER_STEP:
        budget.work(len(left) // CHARACTERS_PER_STEP)
    return left == right


def equals(left: Operand, right: Operand, budget: Budget) -> bool:
    """Apply ``==``."""
    if isinstance(left, str):
        text = text_of_number(right, budget) if is_number(right) else right
        return isinstance(text, str) and _same_text(left, text, budget)
    if is_number(left):
        number = _number_of(right, budget) if isinstance(right, str) else right
        return is_number(number) and left == number
    if left is None or isinstance(left, bool):
        return left is right
    if isinstance(left, dict | list):
        other = right.value if isinstance(right, ListLiteral) else right
        return isinstance(other, dict | list) and same_json(left, other, budget)
    return False


def _differs(left: Operand, right: Operand, budget: Budget) -> bool:
    return not equals(left, right, budget)


def _equals_in_kind(left: Operand, right: Operand, budget: Budget) -> bool:
    return _kind(left) is _kind(right) and equals(left, right, budget)


def _differs_in_kind(left: Operand, right: Operand, budget: Budget) -> bool:
    return not _equals_in_kind(left, right, budget)


def _kind(value: Operand) -> type:
    if is_number(value):
        return float
    return list if isinstance(value, dict | list | ListLiteral) else type(value)


def _ordering(compare: Callable[[Any, Any], bool]) -> Operator:
    def ordered(left: Operand, right: Operand, budget: Budget) -> bool:
        if is_number(left) and is_number(right):
            return compare(left, right)
        if not (isinstance(left, str) and isinstance(right, str)):
            return False
        budget.work(min(len(left), len(right)) // CHARACTERS_PER_STEP)
        return compare(left, right)

    return ordered


_CONTAINERS: Final = frozenset((dict, list))
_NUMBERS: Final = frozenset((int, float))
_TEXTS: Final = frozenset((str,))


def _elements(value: Operand, budget: Budget) -> list[JsonValue] | None:
    """Return the elements of a list, or None for a map.

    Raises:
        PathEvaluationError: The operand is neither; the filter is false for this element.
        PathFunctionError: An element is itself a list or map.
    """
    json = value.value if isinstance(value, ListLiteral) else value
    if isinstance(json, dict):
        return None
    if not isinstance(json, list):
        raise PathEvaluationError("expected a list")
    budget.spend(len(json) >> 3)
    if not _CONTAINERS.isdisjoint(map(type, json)):
        raise PathFunctionError("lists that hold lists or maps cannot be searched by a filter")
    return json


def _is_among(value: Operand, elements: list[JsonValue], budget: Budget) -> bool:
    budget.spend(len(elements))
    if _compares_as_python(value, elements):
        return value in elements
    return any(equals(value, element, budget) for element in elements)


def _compares_as_python(value: Operand, elements: list[JsonValue]) -> bool:
    """Tell whether ``equals`` is Python's equality for all elements, and charges nothing.

    Then a list is searched without a call for each element, in a tenth of the time.
    """
    kinds = set(map(type, elements))
    if is_number(value):
        return kinds <= _NUMBERS
    return isinstance(value, str) and len(value) <= CHARACTERS_PER_STEP and kinds == _TEXTS


def _in(left: Operand, right: Operand, budget: Budget) -> bool:
    elements = _elements(right, budget)
    return elements is not None and _is_among(left, elements, budget)


def _not_in(left: Operand, right: Operand, budget: Budget) -> bool:
    return not _in(left, right, budget)


def _contains(left: Operand, right: Operand, budget: Budget) -> bool:
    if isinstance(left, str) and isinstance(right, str):
        budget.spend(len(left) >> 6)
        budget.cost(search_steps(len(left), len(right)))
        return right in left
    if not isinstance(left, dict | list | ListLiteral):
        return False
    elements = _elements(left, budget)
    return elements is not None and _is_among(right, elements, budget)


def _subset_of(left: Operand, right: Operand, budget: Budget) -> bool:
    allowed, wanted = _elements(right, budget), None
    if allowed is not None:
        wanted = _elements(left, budget)
    if allowed is None or wanted is None:
        return False
    return all(_is_among(element, allowed, budget) for element in wanted)


def _shared(left: Operand, right: Operand, budget: Budget) -> bool | None:
    """Tell whether two lists share an element; None when one of them is a map."""
    others, elements = _elements(right, budget), None
    if others is not None:
        elements = _elements(left, budget)
    if others is None or elements is None:
        return None
    return any(_is_among(element, others, budget) for element in elements)


def _any_of(left: Operand, right: Operand, budget: Budget) -> bool:
    return _shared(left, right, budget) is True


def _none_of(left: Operand, right: Operand, budget: Budget) -> bool:
    return _shared(left, right, budget) is False


def _size(left: Operand, right: Operand, budget: Budget) -> bool:
    del budget
    value = left.value if isinstance(left, ListLiteral) else left
    if not is_number(right) or not isinstance(value, str | list | dict):
        return False
    # A map has the size -1, as in Jayway.
    return (-1 if isinstance(value, dict) else len(value)) == _whole(right)


def _whole(number: object) -> int:
    return int(number) if isinstance(number, int | float) and abs(number) < 2**63 else -2


def _empty(left: Operand, right: Operand, budget: Budget) -> bool:
    del budget
    value = left.value if isinstance(left, ListLiteral) else left
    if not isinstance(value, str | list | dict):
        return False
    return (not value) is _boolean(right)


def _boolean(value: Operand) -> bool:
    if not isinstance(value, bool):
        raise PathEvaluationError("expected true or false")
    return value


def _exists(left: Operand, right: Operand, budget: Budget) -> bool:
    del budget
    if not isinstance(left, bool) and not isinstance(right, bool):
        raise PathFunctionError("'exists' compares with true or false")
    return _boolean(left) is _boolean(right)


def _matches(left: Operand, right: Operand, budget: Budget) -> bool:
    pattern, value = (left, right) if isinstance(left, Pattern) else (right, left)
    if not isinstance(pattern, Pattern) or isinstance(value, Pattern):
        return False
    json = value.value if isinstance(value, ListLiteral) else value
    candidates = _elements(json, budget) if isinstance(json, list) else [_scalar(json)]
    return any(_matches_text(pattern, element, budget) for element in candidates or ())


def _scalar(value: JsonValue | Undefined) -> JsonValue:
    return None if isinstance(value, Undefined | dict) else value


def _matches_text(pattern: Pattern, value: JsonValue, budget: Budget) -> bool:
    """Match text, numbers and booleans by their text, and everything else as ``""``."""
    if isinstance(value, bool):
        text = str(value).lower()
    elif is_number(value):
        text = text_of_number(value, budget)
    else:
        text = value if isinstance(value, str) else ""
    return pattern.matches(text, budget)


def _refuse(left: Operand, right: Operand, budget: Budget) -> bool:
    """Apply an operator for whose right operand Jayway has no syntax."""
    del left, right, budget
    raise PathEvaluationError("this operator has no right operand in texts")


OPERATORS: Final[dict[str, Operator]] = {
    "==": equals,
    "!=": _differs,
    "===": _equals_in_kind,
    "!==": _differs_in_kind,
    "<": _ordering(operator.lt),
    "<=": _ordering(operator.le),
    ">": _ordering(operator.gt),
    ">=": _ordering(operator.ge),
    "=~": _matches,
    "IN": _in,
    "NIN": _not_in,
    "CONTAINS": _contains,
    "SUBSETOF": _subset_of,
    "ANYOF": _any_of,
    "NONEOF": _none_of,
    "SIZE": _size,
    "EMPTY": _empty,
    "EXISTS": _exists,
    "ALL": _refuse,
    "TYPE": _refuse,
    "MATCHES": _refuse,
}
