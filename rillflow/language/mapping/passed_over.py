"""What is known of a mapping rule that came to nothing: which rule, of what kind, and why.

Nothing here decides what a rule does. An explanation is made only after a rule has written
nothing, so rules that work pay nothing for it.
"""

from enum import StrEnum
from itertools import islice
from typing import Final, NamedTuple

from rillflow.errors import ExpressionSyntaxError, LanguageError, PathSyntaxError
from rillflow.jsontypes import JsonObject, JsonValue
from rillflow.language.jsonpath.paths import Path
from rillflow.language.jsonpath.syntax import Indexes, Names, Token
from rillflow.language.text.lexing import shorten

_LONGEST_KEY: Final = 64
_MOST_LOOKED_AT: Final = 1000
_MOST_NEAR: Final = 100
_LENGTHS_APART: Final = 4
_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


class Kind(StrEnum):
    """Why a rule came to nothing, in one word."""

    MISSING = "missing"
    """The source path leads to nothing."""
    NULL = "null"
    """The source path leads to a null, which is never written."""
    BAD_PATH = "bad_path"
    """The source is no path, calls what is no function, or filters what is no container."""
    TRANSFORM_FAILED = "transform_failed"
    """The transform is no expression, or raised an error."""
    TRANSFORM_NIL = "transform_nil"
    """The transform gave nil."""
    NOT_WRITTEN = "not_written"
    """The target is no place, or there is no such place in the document."""
    ROOT = "root"
    """The target is the context, input or output as a whole; that does not last."""
    NOT_KEPT = "not_kept"
    """The target is a place that does not last beyond the list, and no later rule reads it."""
    LITERAL_PATH = "literal_path"
    """The source is a text that looks like a path, and was copied as it is written."""
    NO_SOURCE = "no_source"
    """The rule has neither source nor transform."""
    NO_TARGET = "no_target"
    """The rule has no target."""
    NO_OUTPUT = "no_output"
    """The task gave no output, so that none of its rules was applied."""


OPTIONAL: Final = frozenset({Kind.MISSING, Kind.NULL, Kind.TRANSFORM_NIL})
"""Kinds of which a rule is not told whose own tolerance is true: there was no value."""
AWAITED: Final = OPTIONAL | {Kind.TRANSFORM_FAILED}
"""Kinds that may change with what is still to come."""


class Lost(NamedTuple):
    """A key that is not there, and those that are, if they are about as long."""

    key: str
    near: tuple[str, ...]


class PassedOver(NamedTuple):
    """A rule of a mapping list that wrote nothing, or whose writing does not last.

    Attributes:
        number: Position of the rule in its list, from 1; 0 is all of them.
        rule: What goes where, as it is written, with ``(literal)`` for a source that is one.
        kind: Why, in one word.
        reason: Why, in plain words; it may name values.
        loggable: The same without values; empty where the rule may well be optional.
        lost: The key that was not found, for a suggestion.
    """

    number: int
    rule: str
    kind: Kind
    reason: str
    loggable: str = ""
    lost: Lost | None = None


def loggable_error(error: LanguageError) -> str:
    """Say what an error is, without the values that messages of errors may name."""
    is_of_definition = isinstance(error, PathSyntaxError | ExpressionSyntaxError)
    return str(error) if is_of_definition else type(error).__name__


class Nothing(NamedTuple):
    """Why a source gave nothing."""

    kind: Kind
    reason: str
    lost: Lost | None = None


def why_nothing(path: Path, document: JsonValue) -> Nothing:
    """Tell why a path, which gave null for this document, led to nothing."""
    value, way = document, "$"
    for token in path.syntax.tokens:
        key = _key_of(token)
        if key is None:
            return Nothing(Kind.NULL, f"`{shorten(path.text)}` gives null")
        further = f"{way}{_step(key)}"
        if isinstance(value, dict) and isinstance(key, str):
            if key not in value:
                lost = Lost(key, _near(key, value))
                return Nothing(Kind.MISSING, f"`{shorten(further)}` does not exist", lost)
            value = value[key]
        elif isinstance(value, list) and isinstance(key, int):
            if not -len(value) <= key < len(value):
                few = f"`{shorten(further)}` does not exist: the list has {_count(value)}"
                return Nothing(Kind.MISSING, few)
            value = value[key]
        else:
            wrong = f"`{shorten(further)}` does not exist: `{shorten(way)}` is {_name_of(value)}"
            return Nothing(Kind.MISSING, wrong)
        way = further
    return Nothing(Kind.NULL, f"`{shorten(way)}` is null")


def _key_of(token: Token) -> str | int | None:
    """Return the key of a token that names one member or element, else None."""
    if isinstance(token, Names) and len(token.names) == 1:
        return token.names[0]
    if isinstance(token, Indexes) and len(token.indexes) == 1:
        return token.indexes[0]
    return None


def _step(key: str | int) -> str:
    if isinstance(key, int):
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
