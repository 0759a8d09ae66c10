"""The compiler of filters: from the tree to a predicate of a value.

The caller compiles the paths inside filters, so that this module does not depend on it.

Used by `language/jsonpath/compiler.py` and `language/mapping/condition_parts.py`.
"""

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Final, Protocol, TypeAlias

from rillflow.errors import PathSyntaxError, PathUnsupportedError
from rillflow.jsontypes import JsonValue
from rillflow.language.jsonpath.comparisons import (
    OPERATORS,
    ListLiteral,
    Operand,
    Pattern,
    equals,
    parse_number,
)
from rillflow.language.jsonpath.filter_syntax import (
    Comparison,
    Conjunction,
    Existence,
    FilterSyntax,
    JsonText,
    LiteralSyntax,
    Negation,
    NumberText,
    OperandSyntax,
    PathText,
    PatternText,
)
from rillflow.language.jsonpath.steps import Predicate, Run
from rillflow.language.text.lexing import shorten
from rillflow.language.text.loose_json import JsonSyntaxError, read_json

_MAX_DIGITS: Final = 400
_MAX_EXPONENT_DIGITS: Final = 3


class OperandPath(Protocol):
    """A path in a filter; ``@`` is the item, ``$`` the document of the run.

    Attributes:
        operand_steps: What reading it costs, whatever its result.
    """

    operand_steps: int

    def operand(self, item: JsonValue, run: Run) -> Operand:
        """Return the value, or UNDEFINED if there is none."""

    def exists(self, item: JsonValue, run: Run) -> bool:
        """Tell whether the path has a result; a present null counts."""


CompilePath: TypeAlias = Callable[[str], OperandPath]
_Fetch: TypeAlias = Callable[[JsonValue, Run], Operand]


def compile_filter(tree: FilterSyntax, compile_path: CompilePath) -> Predicate:
    """Make a predicate of a filter's tree.

    Raises:
        PathSyntaxError: A path, number, list or regular expression in it is wrong.
        BudgetExceededError: One of them is too long or too deep.
    """
    match tree:
        case Comparison(left, operator, right):
            return _comparison(left, operator, right, compile_path)
        case Existence(path, wanted):
            return _existence(compile_path(path), wanted=wanted)
        case Negation(part):
            negated = compile_filter(part, compile_path)
            return lambda item, run: not negated(item, run)
        case Conjunction(parts):
            needed = tuple(compile_filter(part, compile_path) for part in parts)
            return lambda item, run: all(part(item, run) for part in needed)
        case _:
            enough = tuple(compile_filter(part, compile_path) for part in tree.parts)
            return lambda item, run: any(part(item, run) for part in enough)


def count_comparisons(tree: FilterSyntax) -> int:
    """Return the number of comparisons and look-ups of a filter if none is skipped."""
    match tree:
        case Comparison() | Existence():
            return 1
        case Negation(part):
            return count_comparisons(part)
        case _:
            return sum(map(count_comparisons, tree.parts))


def _existence(path: OperandPath, *, wanted: bool) -> Predicate:
    exists = path.exists
    return exists if wanted else lambda item, run: not exists(item, run)


def _comparison(
    left: OperandSyntax, operator: str, right: OperandSyntax, compile_path: CompilePath
) -> Predicate:
    compare = OPERATORS[operator]
    fetch_left, fetch_right = _fetch(left, compile_path), _fetch(right, compile_path)
    if isinstance(right, NumberText) and operator in ("==", "!="):
        return _number_equality(fetch_left, right.text, wanted=operator == "==")
    if isinstance(left, PathText) and not isinstance(right, PathText):
        literal = _literal(right)
        return lambda item, run: compare(fetch_left(item, run), literal, run.budget)
    return lambda item, run: compare(fetch_left(item, run), fetch_right(item, run), run.budget)


def _number_equality(fetch_left: _Fetch, digits: str, *, wanted: bool) -> Predicate:
    """Compare with a number that has the text it was written with (``"1.50" == 1.50``)."""
    number, text = _number(digits), _number_as_text(digits)

    def passes(item: JsonValue, run: Run) -> bool:
        value = fetch_left(item, run)
        same = value == text if isinstance(value, str) else equals(value, number, run.budget)
        return same is wanted

    return passes


def _fetch(syntax: OperandSyntax, compile_path: CompilePath) -> _Fetch:
    if isinstance(syntax, PathText):
        return compile_path(syntax.text).operand
    literal = _literal(syntax)
    return lambda _item, _run: literal


def _literal(syntax: LiteralSyntax) -> Operand:
    match syntax:
        case NumberText(digits):
            return _number(digits)
        case PatternText(source, flags):
            return Pattern(source, flags)
        case JsonText(text):
            try:
                return ListLiteral(read_json(text, "words", whole=True))
            except JsonSyntaxError as error:
                raise PathSyntaxError(str(error)) from error
        case _:
            return syntax


def _number(digits: str) -> int | float:
    exponent = digits.lower().partition("e")[2].lstrip("-")
    is_sane = len(digits) <= _MAX_DIGITS and len(exponent) <= _MAX_EXPONENT_DIGITS
    number = parse_number(digits) if is_sane else None
    if number is None or number in (math.inf, -math.inf):
        raise PathUnsupportedError(f"not a number, or too large: {shorten(digits)}")
    return number


def _number_as_text(digits: str) -> str:
    number = Decimal(digits)
    return str(number or abs(number))
