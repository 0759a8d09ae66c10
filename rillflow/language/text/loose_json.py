"""Tolerant JSON, in the two dialects of workflow texts.

* ``names``: field names may be unquoted (Jackson's
  ``ALLOW_UNQUOTED_FIELD_NAMES``); everything else is strict JSON. For literals.
* ``words``: json-smart's permissive mode, which Jayway uses for literals in filters and
  arguments of functions: single quotes, unquoted words, leading zeros and superfluous
  commas are allowed too.

Numbers keep their value exactly. A decimal that no double can hold is refused, and so are lone
surrogates, because JSON cannot express either.

Used by `language/jsonpath/compiler.py`, `language/jsonpath/filters.py` and
`language/text/literals.py`.
"""

import json
import re
from collections.abc import Callable
from typing import Final, Literal, NoReturn, TypeAlias

from rillflow.errors import BudgetExceededError, PathSyntaxError
from rillflow.jsontypes import JsonValue
from rillflow.language.text.lexing import shorten, unescape

Dialect: TypeAlias = Literal["names", "words"]

MAX_NESTING: Final = 200
MAX_LOOSE_CHARS: Final = 262_144

_BLANKS: Final = re.compile(r"[ \t\r\n]*")
_NAME: Final = re.compile(r"[\w$@#*+\-]+")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?(?![\w.])")
_LOOSE_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+(\.[0-9]*)?|(\.[0-9]+))([eE][+-]?[0-9]+)?")
_WORD: Final = re.compile(r"(true|false|null)(?!\w)")
_LOOSE_WORD: Final = re.compile(r"[^,:\[\]{}]*")
_SINGLE_QUOTED: Final = re.compile(r"'((?:[^'\\]|\\.)*)'", re.DOTALL)
_WORDS: Final[dict[str, JsonValue]] = {"true": True, "false": False, "null": None}
_SURROGATE_ESCAPE: Final = re.compile(r"\\u[dD][89a-fA-F]")


class JsonSyntaxError(ValueError):
    """The text is not JSON of the dialect; callers turn it into an error of their own."""


def read_json(text: str, dialect: Dialect, *, whole: bool = False) -> JsonValue:
    """Read one JSON value.

    Args:
        text: Where to read; blanks at its start are passed over.
        dialect: Which liberties it may take.
        whole: Whether anything but blanks behind the value is an error.

    Raises:
        JsonSyntaxError: The text does not start with a value of the dialect.
        BudgetExceededError: It is nested too deeply, or too long for this reader.
    """
    try:
        value, end = _decode(text, _after_blanks(text, 0))
    except (ValueError, OverflowError):
        value, end = _LooseReader(text, dialect).read()
    except RecursionError as error:
        if text.count("[") + text.count("{") <= MAX_NESTING:
            raise  # the stack was full already
        raise _too_deep() from error
    if whole and _after_blanks(text, end) < len(text):
        raise JsonSyntaxError(f"unexpected text behind a JSON value: {shorten(text)}")
    _check(value, text)
    return value


def _check(value: JsonValue, text: str) -> None:
    if text.count("[") + text.count("{") > MAX_NESTING and _is_deep(value):
        raise _too_deep()
    if _SURROGATE_ESCAPE.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise JsonSyntaxError(f"half a surrogate pair in: {shorten(text)}") from error


def _is_deep(value: JsonValue) -> bool:
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_NESTING:
            return True
        level = [
            child
            for parent in level
            if isinstance(parent, dict | list)
            for child in (parent.values() if isinstance(parent, dict) else parent)
        ]
    return False


def _too_deep() -> BudgetExceededError:
    return BudgetExceededError(f"JSON is nested deeper than {MAX_NESTING} levels")


def _after_blanks(text: str, at: int) -> int:
    match = _BLANKS.match(text, at)
    return match.end() if match else at


def _finite(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise JsonSyntaxError(f"no double holds {shorten(digits)}")
    return value


def _refuse_constant(word: str) -> NoReturn:
    raise JsonSyntaxError(f"{word} is not JSON")


_STRICT: Final = json.JSONDecoder(parse_float=_finite, parse_constant=_refuse_constant)


def _decode(text: str, at: int) -> tuple[JsonValue, int]:
    value: JsonValue
    value, end = _STRICT.raw_decode(text, at)
    return value, end


class _LooseReader:
    def __init__(self, text: str, dialect: Dialect) -> None:
        if len(text) > MAX_LOOSE_CHARS:
            raise BudgetExceededError(f"loose JSON is longer than {MAX_LOOSE_CHARS} characters")
        self._text = text
        self._at = 0
        self._depth = 0
        self._words = dialect == "words"

    def read(self) -> tuple[JsonValue, int]:
        return self._value(), self._at

    def _value(self) -> JsonValue:
        character = self._peek()
        if character == "{":
            return self._nested(self._object)
        if character == "[":
            return self._nested(self._array)
        if character == '"' or (character == "'" and self._words):
            return self._string()
        return self._loose_scalar() if self._words else self._strict_scalar()

    def _nested(self, read: Callable[[], JsonValue]) -> JsonValue:
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise _too_deep()
        self._at += 1
        value = read()
        self._depth -= 1
        return value

    def _object(self) -> JsonValue:
        members: dict[str, JsonValue] = {}
        while not self._closes("}"):
            name = self._name()
            if self._peek() != ":":
                raise self._wrong("expected ':'")
            self._at += 1
            members[name] = self._value()
            self._separate("}", allowed_at_end=self._words)
        return members

    def _array(self) -> JsonValue:
        elements: list[JsonValue] = []
        while not self._closes("]"):
            elements.append(self._value())
            self._separate("]", allowed_at_end=self._words)
        return elements

    def _closes(self, closing: str) -> bool:
        while self._peek() == "," and self._words:
            self._at += 1
        if self._peek() != closing:
            return False
        self._at += 1
        return True

    def _separate(self, closing: str, *, allowed_at_end: bool) -> None:
        character = self._peek()
        if character == ",":
            self._at += 1
            if self._peek() == closing and not allowed_at_end:
                raise self._wrong("a value is missing")
        elif character != closing:
            raise self._wrong(f"expected ',' or {closing!r}")

    def _name(self) -> str:
        character = self._peek()
        if character == '"' or (character == "'" and self._words):
            return self._string()
        match = (_LOOSE_WORD if self._words else _NAME).match(self._text, self._at)
        if match is None or not match[0]:
            raise self._wrong("expected a field name")
        self._at = match.end()
        return match[0].strip()

    def _string(self) -> str:
        quoted = _SINGLE_QUOTED.match(self._text, self._at)
        try:
            if quoted is not None:
                self._at = quoted.end()
                return unescape(quoted[1])
            value, self._at = _decode(self._text, self._at)
        except (ValueError, PathSyntaxError) as error:
            raise self._wrong("bad string") from error
        return str(value)

    def _strict_scalar(self) -> JsonValue:
        if match := _WORD.match(self._text, self._at):
            self._at = match.end()
            return _WORDS[match[1]]
        match = _NUMBER.match(self._text, self._at)
        if match is None:
            raise self._wrong("expected a value")
        self._at = match.end()
        return _number(match[0], whole=match[1] is None and match[2] is None)

    def _loose_scalar(self) -> JsonValue:
        match = _LOOSE_WORD.match(self._text, self._at)
        word = match[0].strip() if match else ""
        if match is None or not word:
            raise self._wrong("expected a value")
        self._at = match.end()
        if word in _WORDS:
            return _WORDS[word]
        digits = _LOOSE_NUMBER.fullmatch(word)
        if digits is None:
            return word
        return _number(word, whole=not any(digits.groups()))

    def _peek(self) -> str:
        self._at = _after_blanks(self._text, self._at)
        if self._at >= len(self._text):
            raise self._wrong("the text ends too early")
        return self._text[self._at]

    def _wrong(self, problem: str) -> JsonSyntaxError:
        return JsonSyntaxError(f"{problem}, at character {self._at} of {shorten(self._text)}")


def _number(digits: str, *, whole: bool) -> JsonValue:
    try:
        return int(digits) if whole else _finite(digits)
    except ValueError as error:
        raise JsonSyntaxError(f"not a number: {shorten(digits)}") from error
