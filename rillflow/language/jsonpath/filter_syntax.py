"""The parser of filters: from text to a tree (spec 2.8, Jayway JsonPath 2.8.0).

``&&`` binds tighter than ``||``; ``!`` negates what is in parentheses, and before a path it
requires that the path does not exist. A path ends at a space, a comparison sign or the parenthesis
that closes the filter, so ``@.a&&@.b`` is one path and needs spaces.

Used by `language/jsonpath/compiler.py` and `language/jsonpath/filters.py`.
"""

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from rillflow.errors import PathSyntaxError
from rillflow.language.jsonpath.comparisons import OPERATORS
from rillflow.language.jsonpath.syntax import check_depth
from rillflow.language.text.lexing import (
    closing_mark,
    matching_bracket,
    shorten,
    skip_blanks,
    unescape,
)

_SIGNS: Final = "<>=~!"
_FLAGS: Final = "dixmsuU"
_WORDS: Final[dict[str, bool | None]] = {"true": True, "false": False, "null": None}


class PathText(NamedTuple):
    """A path as operand."""

    text: str


class NumberText(NamedTuple):
    """A number as operand; kept as text, since text compares with it as text."""

    text: str


class JsonText(NamedTuple):
    """A list or map as operand."""

    text: str


class PatternText(NamedTuple):
    """A regular expression as operand."""

    source: str
    flags: str


LiteralSyntax: TypeAlias = NumberText | JsonText | PatternText | str | bool | None
OperandSyntax: TypeAlias = PathText | LiteralSyntax


class Comparison(NamedTuple):
    """``left operator right``; the operator is spelt as in ``comparisons.OPERATORS``."""

    left: OperandSyntax
    operator: str
    right: OperandSyntax


class Existence(NamedTuple):
    """``@.path`` or ``!@.path``."""

    path: str
    wanted: bool


class Negation(NamedTuple):
    """``!( ... )``."""

    part: "FilterSyntax"


class Conjunction(NamedTuple):
    """Parts joined by ``&&``."""

    parts: "tuple[FilterSyntax, ...]"


class Disjunction(NamedTuple):
    """Parts joined by ``||``."""

    parts: "tuple[FilterSyntax, ...]"


FilterSyntax: TypeAlias = Comparison | Existence | Negation | Conjunction | Disjunction


def read_filter(text: str, depth: int) -> FilterSyntax:
    """Read a filter.

    Args:
        text: The filter with its outer parentheses.
        depth: How many tokens and brackets enclose it.

    Raises:
        PathSyntaxError: The text is not a filter.
        BudgetExceededError: It is nested too deeply.
    """
    return _FilterReader(text, depth).read()


class _FilterReader:
    def __init__(self, text: str, depth: int) -> None:
        self._text = text
        self._last = len(text) - 1
        self._at = 0
        self._depth = depth

    def read(self) -> FilterSyntax:
        tree = self._either()
        if skip_blanks(self._text, self._at, self._last) <= self._last:
            raise self._wrong("expected the end of the filter")
        return tree

    def _either(self) -> FilterSyntax:
        parts = self._joined("||", self._both)
        return parts[0] if len(parts) == 1 else Disjunction(parts)

    def _both(self) -> FilterSyntax:
        parts = self._joined("&&", self._part)
        return parts[0] if len(parts) == 1 else Conjunction(parts)

    def _joined(self, sign: str, read: Callable[[], FilterSyntax]) -> tuple[FilterSyntax, ...]:
        parts = [read()]
        while self._text.startswith(sign, skip_blanks(self._text, self._at, self._last)):
            self._at = skip_blanks(self._text, self._at, self._last) + len(sign)
            parts.append(read())
        return tuple(parts)

    def _part(self) -> FilterSyntax:
        self._depth += 1
        check_depth(self._depth)
        try:
            return self._part_inside()
        finally:
            self._depth -= 1

    def _part_inside(self) -> FilterSyntax:
        character = self._peek()
        if character == "!":
            after = skip_blanks(self._text, self._at + 1, self._last)
            if after <= self._last and self._text[after] not in "$@":
                self._at = after
                return Negation(self._part())
        if character != "(":
            return self._comparison()
        self._at += 1
        tree = self._either()
        if self._peek() != ")":
            raise self._wrong("expected ')'")
        self._at += 1
        return tree

    def _comparison(self) -> FilterSyntax:
        wanted = self._peek() != "!"
        left = self._operand()
        after_left = self._at
        try:
            return Comparison(left, self._operator(), self._operand())
        except PathSyntaxError:
            if not isinstance(left, PathText):
                raise
            self._at = after_left
            return Existence(left.text, wanted)

    def _operator(self) -> str:
        self._peek()
        start = self._at
        is_sign = self._text[start] in _SIGNS
        while self._at <= self._last and (
            self._text[self._at] in _SIGNS if is_sign else self._text[self._at] != " "
        ):
            self._at += 1
        operator = self._text[start : self._at].upper()
        if operator not in OPERATORS:
            raise self._wrong(f"unknown operator {shorten(operator)}")
        return operator

    def _operand(self) -> OperandSyntax:
        character = self._peek()
        if character == "!":
            self._at += 1
            character = self._peek()
            if character not in "$@":
                raise self._wrong("expected a path after '!'")
        if character in "$@":
            return self._path()
        if character in "'\"/":
            return self._quoted(character)
        if character in "[{":
            return self._json()
        return self._word() if character in "tfn" else self._number()

    def _quoted(self, mark: str) -> str | PatternText:
        end = closing_mark(self._text, self._at, self._last)
        if end < 0:
            raise self._wrong(f"missing closing {mark}")
        inside = self._text[self._at + 1 : end]
        self._at = end + 1
        if mark != "/":
            return unescape(inside)
        start = self._at
        while self._at <= self._last and self._text[self._at] in _FLAGS:
            self._at += 1
        return PatternText(inside, self._text[start : self._at])

    def _json(self) -> JsonText:
        end = matching_bracket(self._text, self._at, self._last)
        if end < 0:
            raise self._wrong("a list or map does not close")
        text = self._text[self._at : end + 1]
        self._at = end + 1
        return JsonText(text)

    def _word(self) -> bool | None:
        for word, value in _WORDS.items():
            if self._text.startswith(word, self._at, self._last + 1):
                self._at += len(word)
                return value
        raise self._wrong("expected true, false or null")

    def _number(self) -> NumberText:
        start = self._at
        while self._at <= self._last and (
            self._text[self._at].isdecimal() or self._text[self._at] in "-.eE"
        ):
            self._at += 1
        if self._at == start:
            raise self._wrong("expected a path or a literal")
        return NumberText(self._text[start : self._at])

    def _path(self) -> PathText:
        start = self._at
        self._at += 1
        while self._at <= self._last and not self._ends_path(start):
            if self._text[self._at] == "[":
                end = matching_bracket(self._text, self._at, self._last)
                if end < 0:
                    raise self._wrong("a bracket of a path does not close")
                self._at = end
            self._at += 1
        return PathText(self._text[start : self._at])

    def _ends_path(self, start: int) -> bool:
        character = self._text[self._at]
        if character != ")":
            return character == " " or character in _SIGNS
        before = self._text[start : self._at].rstrip(" ")
        return not (before.endswith("(") and "." in before[1:])

    def _peek(self) -> str:
        self._at = skip_blanks(self._text, self._at, self._last)
        if self._at > self._last:
            raise self._wrong("the filter ends too early")
        return self._text[self._at]

    def _wrong(self, problem: str) -> PathSyntaxError:
        return PathSyntaxError(f"{problem}, at character {self._at} of {shorten(self._text)}")
