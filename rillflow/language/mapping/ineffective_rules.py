"""Reports of mapping rules without effect: which rule, of which kind, and why.

Nothing here decides what a rule does. An explanation is built only after a rule has written
nothing, so rules that work cost nothing extra.

Used by `core`, `core/tasks` and `language/mapping`.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from itertools import islice, takewhile
from typing import Final, NamedTuple

from rillflow.errors import ExpressionSyntaxError, LanguageError, PathSyntaxError
from rillflow.jsontypes import JsonObject, JsonValue
from rillflow.language.jsonpath.paths import Path
from rillflow.language.jsonpath.syntax import Token, Wildcard, key_of
from rillflow.language.text.lexing import shorten

_LONGEST_KEY: Final = 64
_MOST_LOOKED_AT: Final = 1000
_MOST_NEAR: Final = 100
_LENGTHS_APART: Final = 4
_MOST_STARS: Final = 3
_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


class Kind(StrEnum):
    """Why a rule had no effect, as one word."""

    MISSING = "missing"
    """The source path has no result."""
    NULL = "null"
    """The source path leads to a null, which is never written."""
    BAD_PATH = "bad_path"
    """The source is not a path, calls an unknown function, or filters a scalar."""
    TRANSFORM_FAILED = "transform_failed"
    """The transform is not an expression, or raised an error."""
    TRANSFORM_NIL = "transform_nil"
    """The transform gave nil."""
    NOT_WRITTEN = "not_written"
    """The target is not a place, or the document has no such place."""
    ROOT = "root"
    """The target is the context, input or output as a whole; that is not kept."""
    NOT_KEPT = "not_kept"
    """The target is a place that is not kept after the list, and no later rule reads it."""
    LITERAL_PATH = "literal_path"
    """The source is a text that looks like a path, and was copied as text."""
    NO_SOURCE = "no_source"
    """The rule has neither source nor transform."""
    NO_TARGET = "no_target"
    """The rule has no target."""
    NO_OUTPUT = "no_output"
    """The task gave no output, so none of its rules was applied."""


OPTIONAL: Final = frozenset({Kind.MISSING, Kind.NULL, Kind.TRANSFORM_NIL})
"""Kinds that are not reported for a rule with ``tolerance: true``: there was no value."""
AWAITED: Final = OPTIONAL | {Kind.TRANSFORM_FAILED}
"""Kinds that later data may change."""


class MissingKey(NamedTuple):
    """A missing key, and the existing keys of similar length."""

    key: str
    near: tuple[str, ...]


class IneffectiveRule(NamedTuple):
    """A mapping rule that wrote nothing, or whose target is not kept.

    Attributes:
        number: Position of the rule in its list, from 1; 0 is the whole list.
        rule: Source and target as they are written, with ``(literal)`` after a literal.
        kind: The reason as one word.
        reason: The reason as a sentence; it may contain values.
        loggable: The same without values; empty if the rule may be optional.
        missing_key: The key that was not found, for a suggestion.
    """

    number: int
    rule: str
    kind: Kind
    reason: str
    loggable: str = ""
    missing_key: MissingKey | None = None


def loggable_error(error: LanguageError) -> str:
    """Return what an error is, without the values that its message may contain."""
    is_of_definition = isinstance(error, PathSyntaxError | ExpressionSyntaxError)
    return str(error) if is_of_definition else type(error).__name__


class NoValue(NamedTuple):
    """Why a source gave nothing."""

    kind: Kind
    reason: str
    missing_key: MissingKey | None = None


def why_no_value(path: Path, document: JsonValue) -> NoValue:
    """Return why a path, which gave null for this document, has no result."""
    tokens = path.syntax.tokens
    keys = tuple(takewhile(lambda token: key_of(token) is not None, tokens))
    no_value = _why_no_value(document, "$", keys)
    if len(keys) < len(tokens) and no_value.kind is not Kind.MISSING:
        return NoValue(Kind.NULL, f"`{shorten(path.text)}` gives null")
    return no_value


def _why_no_value(value: JsonValue, way: str, keys: Sequence[Token]) -> NoValue:
    for token in keys:
        key = key_of(token)
        further = f"{way}{_step(key)}"
        if isinstance(value, dict) and isinstance(key, str):
            if key not in value:
                missing_key = MissingKey(key, _near(key, value))
                return NoValue(Kind.MISSING, f"`{shorten(further)}` does not exist", missing_key)
            value = value[key]
        elif isinstance(value, list) and isinstance(key, int):
            if not -len(value) <= key < len(value):
                few = f"`{shorten(further)}` does not exist: the list has {_count(value)}"
                return NoValue(Kind.MISSING, few)
            value = value[key]
        else:
            wrong = f"`{shorten(further)}` does not exist: `{shorten(way)}` is {_name_of(value)}"
            return NoValue(Kind.MISSING, wrong)
        way = further
    return NoValue(Kind.NULL, f"`{shorten(way)}` is null")


def names_keys_of_elements(path: Path) -> bool:
    """Tell whether a path is like ``$.a[*].b``: it names all keys, except for a few ``[*]``."""
    tokens = path.syntax.tokens
    stars = sum(type(token) is Wildcard for token in tokens)
    others_are_keys = len(tokens) - stars == sum(key_of(token) is not None for token in tokens)
    return 0 < stars <= _MOST_STARS and others_are_keys and type(tokens[-1]) is not Wildcard


def why_elements_lack(path: Path, document: JsonValue) -> NoValue | None:
    """Return why no element has what a path of that form names.

    None if one has it, even as null, or if there are no elements.
    """
    tokens = path.syntax.tokens
    return None if _is_there(document, tokens) is not False else _why_lacking(document, "$", tokens)


def _is_there(value: JsonValue, tokens: Sequence[Token]) -> bool | None:
    """Tell whether tokens have a result, even null; None if there are no elements."""
    for place, token in enumerate(tokens):
        if type(token) is Wildcard:
            return _is_in_elements(value, tokens[place + 1 :])
        key = key_of(token)
        if not _has(value, key):
            return False
        value = value[key]  # type: ignore[index]
    return True


def _has(value: JsonValue, key: str | int | None) -> bool:
    if isinstance(key, str):
        return isinstance(value, dict) and key in value
    is_index = isinstance(value, list) and key is not None
    return is_index and -len(value) <= key < len(value)  # type: ignore[arg-type, operator]


def _is_in_elements(value: JsonValue, tokens: Sequence[Token]) -> bool | None:
    if not isinstance(value, dict | list):
        return False
    found = None
    for element in _elements(value):
        there = _is_there(element, tokens)
        if there:
            return True
        found = False if there is False else found
    return found


def _why_lacking(value: JsonValue, way: str, tokens: Sequence[Token]) -> NoValue:
    """Return why the first element that lacks it does."""
    for place, token in enumerate(tokens):
        if type(token) is Wildcard and isinstance(value, dict | list):
            rest = tokens[place + 1 :]
            lacking = next(one for one in _elements(value) if _is_there(one, rest) is False)
            return _why_lacking(lacking, f"{way}[*]", rest)
        no_value = _why_no_value(value, way, (token,))
        if no_value.kind is Kind.MISSING:
            return no_value
        key = key_of(token)
        value, way = value[key], f"{way}{_step(key)}"  # type: ignore[index]
    return NoValue(Kind.NULL, f"`{shorten(way)}` is null")


def _elements(value: JsonObject | list[JsonValue]) -> Iterable[JsonValue]:
    return value.values() if isinstance(value, dict) else value


def _step(key: str | int | None) -> str:
    if not isinstance(key, str):
        return f"[{key}]"
    return f".{key}" if key and _PLAIN.issuperset(key) else f"['{key}']"


def _near(key: str, container: JsonObject) -> tuple[str, ...]:
    if len(key) > _LONGEST_KEY:
        return ()
    some = islice(container, _MOST_LOOKED_AT)
    similar = (other for other in some if abs(len(other) - len(key)) <= _LENGTHS_APART)
    return tuple(islice(similar, _MOST_NEAR))


def _count(elements: list[JsonValue]) -> str:
    return "1 element" if len(elements) == 1 else f"{len(elements)} elements"


def _name_of(value: JsonValue) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    kinds = ((str, "a text"), (dict, "a map"), (list, "a list"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "a number")
