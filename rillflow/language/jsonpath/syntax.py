"""The parser of paths: from text to tokens (spec 2.8, Jayway JsonPath 2.8.0).

It reproduces Jayway's behaviour, which recorded results confirm: a path without ``$`` gets one,
spaces are allowed at the end but not at the start, a dot before a bracket has no meaning, a name
may follow a bracket without a dot, and a single character left at the very end is ignored.

Used by `core/tasks/iterations.py`, `definition/lint`, `language/jsonpath` and `language/mapping`.
"""

import re
from typing import Final, NamedTuple, TypeAlias

from rillflow.errors import BudgetExceededError, PathSyntaxError
from rillflow.language.text.lexing import (
    closing_mark,
    matching_bracket,
    next_is,
    next_significant,
    shorten,
    unescape,
)

MAX_PATH_CHARS: Final = 10_000
MAX_DEPTH: Final = 64

_INTEGER: Final = re.compile(r"-?[0-9]+")
_INDEX_CHARS: Final = re.compile(r"[0-9,:\- ]*")
_COMMA: Final = re.compile(r"\s*,\s*")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_MAX_INT: Final = 2**31 - 1


class Names(NamedTuple):
    """``.name``, ``['name']`` or ``['a','b']``."""

    names: tuple[str, ...]


class Indexes(NamedTuple):
    """``[0]``, ``[-1]`` or ``[0,2]``."""

    indexes: tuple[int, ...]


class Slice(NamedTuple):
    """``[a:b]``, ``[a:]`` or ``[:b]``; at least one end is given."""

    start: int | None
    stop: int | None


class Wildcard(NamedTuple):
    """``.*`` or ``[*]``."""


class Scan(NamedTuple):
    """``..``."""


class Filter(NamedTuple):
    """``[?(...)]``; the text includes the parentheses."""

    text: str


class JsonArgument(NamedTuple):
    """JSON text as argument of a function."""

    text: str


class PathArgument(NamedTuple):
    """A path as argument of a function; it starts at the document."""

    path: "PathSyntax"


class Function(NamedTuple):
    """``.name(...)``."""

    name: str
    arguments: tuple[JsonArgument | PathArgument, ...]


Token: TypeAlias = Names | Indexes | Slice | Wildcard | Scan | Filter | Function


def key_of(token: Token) -> str | int | None:
    """Return the key of a token that names one member or element, else None."""
    if isinstance(token, Names) and len(token.names) == 1:
        return token.names[0]
    if isinstance(token, Indexes) and len(token.indexes) == 1:
        return token.indexes[0]
    return None


class PathSyntax(NamedTuple):
    """A path after reading; ``root`` is ``$`` or ``@``."""

    root: str
    tokens: tuple[Token, ...]

    @property
    def is_function(self) -> bool:
        """Whether the last token is a function."""
        return bool(self.tokens) and isinstance(self.tokens[-1], Function)


def read_path(text: str, depth: int = 0) -> PathSyntax:
    """Read a path.

    Args:
        text: The path.
        depth: How many tokens and brackets enclose it; a path in a filter starts deeper.

    Raises:
        PathSyntaxError: The text is not a path.
        BudgetExceededError: The path is too long or too deep.
    """
    if len(text) > MAX_PATH_CHARS:
        raise BudgetExceededError(f"path is longer than {MAX_PATH_CHARS} characters")
    if not text or _SURROGATE.search(text):
        raise PathSyntaxError("path is empty or not Unicode text")
    return _PathReader(text if text[0] in "$@" else f"$.{text}", depth).read()


def check_depth(depth: int) -> None:
    """Refuse a path that is nested too deeply.

    Raises:
        BudgetExceededError: It is.
    """
    if depth > MAX_DEPTH:
        raise BudgetExceededError(f"path is nested deeper than {MAX_DEPTH} steps")


class _PathReader:
    def __init__(self, text: str, depth: int) -> None:
        self._text = text
        self._depth = depth
        self._at = 0
        self._last = len(text) - 1
        self._tokens: list[Token] = []
        while self._last > 0 and text[self._last] == " ":
            self._last -= 1

    def read(self) -> PathSyntax:
        root = self._text[0]
        if self._text[self._last] == ".":
            raise self._wrong("a path must not end with '.'")
        if self._last > 0:
            self._at = 1
            if self._text[1] not in ".[":
                raise self._wrong("expected '.' or '['")
            self._read_token()
            while self._at < self._last:
                self._read_token()
        return PathSyntax(root, tuple(self._tokens))

    def _read_token(self) -> None:
        if self._char() == ".":
            self._read_dots()
        character = self._char()
        if character == "[":
            self._read_bracket()
        elif character == "*":
            self._at += 1
            self._add(Wildcard())
        elif character in (".", " "):
            raise self._wrong(f"misplaced {character!r}")
        else:
            self._read_name()

    def _read_dots(self) -> None:
        if self._text.startswith("..", self._at):
            self._add(Scan())
            self._at += 2
        else:
            self._at += 1

    def _read_bracket(self) -> None:
        inside = next_significant(self._text, self._at, self._last)
        character = self._text[inside] if inside >= 0 else ""
        if character and character in "'\"":
            self._read_quoted_names(character)
        elif character and character in "-:0123456789":
            self._read_indexes()
        elif character == "*":
            end = next_is(self._text, inside, self._last, "]")
            if end < 0:
                raise self._wrong("expected ']' after '[*'")
            self._at = end + 1
            self._add(Wildcard())
        elif character == "?":
            self._read_filter(inside)
        else:
            raise self._wrong("expected a quoted name, an index, '*' or '?(' in brackets")

    def _read_quoted_names(self, quote: str) -> None:
        names: list[str] = []
        text, last, comma = self._text, self._last, False
        at = self._at + 1
        while at <= last and text[at] != "]":
            if text[at] == quote:
                end = closing_mark(text, at, last)
                follower = next_significant(text, end, last) if end >= 0 else -1
                if follower < 0 or text[follower] not in "],":
                    raise self._wrong(f"expected {quote}, then ',' or ']' after a quoted name")
                names.append(unescape(text[at + 1 : end]))
                at, comma = end, False
            elif text[at] == ",":
                if comma:
                    raise self._wrong("a name is missing before ','")
                comma = True
            at += 1
        if comma or at > last:
            raise self._wrong("a name is missing before ']'")
        self._at = at + 1
        self._add(Names(tuple(names)))

    def _read_indexes(self) -> None:
        end = self._text.find("]", self._at + 1, self._last + 1)
        inside = self._text[self._at + 1 : end].strip() if end >= 0 else "?"
        if not _INDEX_CHARS.fullmatch(inside):
            raise self._wrong("expected an index, a slice or a list of indexes in brackets")
        self._at = end + 1
        if ":" in inside:
            self._add(self._slice(inside))
        else:
            self._add(Indexes(tuple(map(self._integer, _COMMA.split(inside)))))

    def _slice(self, inside: str) -> Slice:
        start, stop = [*inside.split(":"), ""][:2]
        if not start and not stop:
            raise self._wrong("a slice needs a start or an end")
        return Slice(self._integer(start) if start else None, self._integer(stop) if stop else None)

    def _integer(self, digits: str) -> int:
        if not _INTEGER.fullmatch(digits) or len(digits) > 11 or abs(int(digits)) > _MAX_INT:
            raise self._wrong(f"not an index: {digits!r}")
        return int(digits)

    def _read_filter(self, question: int) -> None:
        text, last = self._text, self._last
        opening = next_is(text, question, last, "(")
        if opening < 0:
            raise self._wrong("expected '(' after '[?'")
        closing = matching_bracket(text, opening, last, patterns=True)
        end = next_is(text, closing, last, "]") if closing >= 0 else -1
        if end < 0:
            raise self._wrong("a filter does not close with ')]'")
        self._at = end + 1
        self._add(Filter(text[opening : closing + 1]))

    def _read_name(self) -> None:
        text, start = self._text, self._at
        at = start
        while at <= self._last and text[at] not in ".[( ":
            at += 1
        if at <= self._last and text[at] == " ":
            raise self._wrong("names with blanks go into brackets: ['my name']")
        name = text[start:at]
        if at <= self._last and text[at] == "(":
            self._read_function(name, at)
        else:
            self._at = at
            self._add(Names((name,)))

    def _read_function(self, name: str, opening: int) -> None:
        text, last = self._text, self._last
        if opening < last and text[opening + 1] == ")":
            # As in Jayway, the next token starts at the parenthesis.
            self._at = opening + 1
            self._add(Function(name, ()))
            return
        arguments, self._at = _ArgumentReader(text, opening + 1, last, self._depth + 1).read()
        self._add(Function(name, arguments))

    def _add(self, token: Token) -> None:
        self._depth += 1
        check_depth(self._depth)
        self._tokens.append(token)

    def _char(self) -> str:
        return self._text[self._at]

    def _wrong(self, problem: str) -> PathSyntaxError:
        return PathSyntaxError(f"{problem}, at character {self._at} of path {shorten(self._text)}")


class _ArgumentReader:
    """Splits a function's arguments at the commas that stand outside all brackets."""

    def __init__(self, text: str, at: int, last: int, depth: int) -> None:
        self._text = text
        self._at = at
        self._last = last
        self._depth = depth
        self._brackets: list[str] = []
        self._arguments: list[JsonArgument | PathArgument] = []
        self._start = -1

    def read(self) -> tuple[tuple[JsonArgument | PathArgument, ...], int]:
        """Return the arguments and the position after the closing parenthesis."""
        while self._at <= self._last:
            character = self._text[self._at]
            if self._start < 0 and (character in '{[$@"-' or character.isdecimal()):
                self._start = self._at
            if not self._brackets and character in ",)":
                self._finish()
                if character == ")":
                    return tuple(self._arguments), self._at + 1
            self._pass(character)
        raise self._wrong()

    def _pass(self, character: str) -> None:
        if character == '"':
            end = closing_mark(self._text, self._at, self._last)
            if end < 0:
                raise self._wrong()
            self._at = end
        elif character in "([{":
            self._brackets.append({"(": ")", "[": "]", "{": "}"}[character])
        elif character in ")]}" and (not self._brackets or self._brackets.pop() != character):
            raise self._wrong()
        self._at += 1

    def _finish(self) -> None:
        if self._start >= 0:
            text = self._text[self._start : self._at].strip()
            is_path = text[0] in "$@"
            self._arguments.append(
                PathArgument(read_path(text, self._depth)) if is_path else JsonArgument(text)
            )
        self._start = -1

    def _wrong(self) -> PathSyntaxError:
        return PathSyntaxError(f"a function's arguments do not close: {shorten(self._text)}")
