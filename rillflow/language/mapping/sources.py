"""Sources of mapping rules: a path, a trigger URL, a literal, or nothing (spec 2.3).

Used by `language/mapping/mappings.py`.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple, NoReturn, TypeAlias

from rillflow.errors import LanguageError
from rillflow.jsontypes import JsonObject, JsonValue
from rillflow.language.budget import TotalBudget
from rillflow.language.jsonpath.paths import LOST, compile_path, reads_as_null
from rillflow.language.jsonpath.syntax import Function, Names, Token
from rillflow.language.mapping.ineffective_rules import (
    Kind,
    NoValue,
    names_keys_of_elements,
    why_elements_lack,
    why_no_value,
)
from rillflow.language.mapping.secret_references import is_path
from rillflow.language.mapping.targets import Draft
from rillflow.language.text.literals import parse_literal
from rillflow.language.versions import (
    AVIATOR_AND_JAYWAY_MEASURED,
    STRICT_OF_LISTS_AND_SUB_FLOWS,
)

TriggerUrl: TypeAlias = Callable[[str], str]

_TASKS: Final = "$.tasks."


class MappingDocument(Draft):
    """The document of one application of a mapping list, and the other inputs of its sources.

    It is created for each application; it is one object with the draft, which costs less.

    Attributes:
        trigger_url: Returns the URL that triggers a task by name.
        seed: Determines random numbers.
        language: The language version.
        unread: The error of the source fetched last, if it is null because of it, or why
            all elements of its list are.
    """

    __slots__ = ("language", "seed", "trigger_url", "unread")

    def __init__(
        self,
        document: JsonObject,
        budget: TotalBudget | None,
        trigger_url: TriggerUrl | None,
        seed: int,
        language: int,
    ) -> None:
        """Begin with a document, which the caller no longer uses."""
        # As the draft does: a call that is made for each application is saved here.
        self.budget = budget or TotalBudget()
        self.document = document
        self.levels = 0
        self.replaced = {}
        self.owned = {}
        self.trigger_url = trigger_url
        self.seed = seed
        self.language = language
        self.unread: LanguageError | NoValue | None = None


Fetch: TypeAlias = Callable[[MappingDocument], JsonValue]
Reads: TypeAlias = tuple[str, ...] | None
WhyNoValue: TypeAlias = Callable[[MappingDocument], NoValue]


class Source(NamedTuple):
    """A compiled source.

    Attributes:
        fetch: Returns the value.
        reads: The entries of the document with which the value may share structure; None
            if it may be any, or the document itself.
        why_no_value: Returns why the value is null.
    """

    fetch: Fetch
    reads: Reads
    why_no_value: WhyNoValue


def is_blank(text: str | None) -> bool:
    """Tell whether a field of a rule is blank."""
    return text is None or not text.strip()


def compile_source(source: str) -> Source:
    """Compile a source; an invalid path is null when it is fetched (spec 2.7)."""
    if is_blank(source):
        why = _because(Kind.NO_SOURCE, "the rule has neither source nor transform")
        return Source(_nothing, (), why)
    if source.startswith(_TASKS) and source.count(".") >= 3:
        why = _because(Kind.MISSING, "of a task there is only $.tasks.<name>.trigger_url")
        return Source(_compile_task_source(source), (), why)
    if is_path(source):
        return _compile_path(source)
    try:
        literal = parse_literal(source)
    except LanguageError as error:
        return Source(failing(error), (), _because(Kind.BAD_PATH, str(error)))
    return Source(lambda _draft: literal, (), _because(Kind.NULL, "the literal is null"))


def _compile_path(source: str) -> Source:
    try:
        path = compile_path(source)
    except LanguageError as error:
        return Source(_unreadable(error), (), _because(Kind.BAD_PATH, str(error)))
    find = path.find

    def fetch(draft: MappingDocument) -> JsonValue:
        try:
            return find(draft.document, draft.budget)
        except LanguageError as error:
            _take_for_null(error, draft)
            return None

    def fetch_of_elements(draft: MappingDocument) -> JsonValue:
        found = fetch(draft)
        is_bare = type(found) is list and not any(each is not None for each in found)
        if is_bare and draft.language >= STRICT_OF_LISTS_AND_SUB_FLOWS:
            draft.unread = why_elements_lack(path, draft.document)
        return found

    fetch_fast = None if path.names is None else _follow_names(path.names)
    return Source(
        fetch_fast or (fetch_of_elements if names_keys_of_elements(path) else fetch),
        _entries_read(path.syntax.tokens),
        lambda draft: why_no_value(path, draft.document),
    )


def _follow_names(names: tuple[str, ...]) -> Fetch:
    """Fetch as ``Path.find`` does, in one call: nearly all sources are names."""

    def fetch(draft: MappingDocument) -> JsonValue:
        value: Any = draft.document
        try:
            for name in names:
                value = value[name]
        except LOST:
            return None
        found: JsonValue = value
        return found

    return fetch


def _unreadable(error: LanguageError) -> Fetch:
    def fetch(draft: MappingDocument) -> JsonValue:
        _take_for_null(type(error)(*error.args), draft)
        return None

    return fetch


def _take_for_null(error: LanguageError, draft: MappingDocument) -> None:
    """Note the error of a source that reads as null because of it.

    Raises:
        LanguageError: The error itself, where it is a failure.
    """
    if draft.language < AVIATOR_AND_JAYWAY_MEASURED or not reads_as_null(error):
        raise error
    draft.unread = error.with_traceback(None)  # it would keep the frames, and with them itself


def _because(kind: Kind, reason: str) -> WhyNoValue:
    return lambda _draft: NoValue(kind, reason)


def _entries_read(tokens: tuple[Token, ...]) -> Reads:
    is_below_entries = tokens and isinstance(tokens[0], Names)
    if not is_below_entries or any(isinstance(token, Function) for token in tokens):
        return None
    first = tokens[0]
    return first.names if isinstance(first, Names) else None


def _compile_task_source(source: str) -> Fetch:
    """Read ``$.tasks.<name>.trigger_url``; every other attribute of a task is null.

    The text between the first and the second ``?`` is added to the URL as it is.
    """
    attribute, mark, query = source.partition("?")
    parts = attribute.split(".")
    if len(parts) != 4 or parts[3] != "trigger_url":
        return _nothing
    extra = f"&{query.partition('?')[0]}" if mark else ""

    def fetch(draft: MappingDocument) -> JsonValue:
        return None if draft.trigger_url is None else draft.trigger_url(parts[2]) + extra

    return fetch


def _nothing(draft: MappingDocument) -> JsonValue:
    del draft
    return None


NO_TARGET: Final = Source(_nothing, (), _because(Kind.NO_TARGET, "the rule has no target"))
"""The source of a rule without a target: it is not read."""


def failing(error: LanguageError) -> Callable[..., NoReturn]:
    """Return a function that raises an error whenever it is called."""

    def fail(*_: object) -> NoReturn:
        raise type(error)(*error.args)

    return fail
