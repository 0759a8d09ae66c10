"""Warnings about mapping rules that have written a value.

The checks are built when a list is compiled: a rule without a check costs nothing extra.

Used by `language/mapping/mappings.py`.
"""

from collections.abc import Callable
from typing import Final, NamedTuple, Protocol, TypeAlias

from rillflow.errors import LanguageError
from rillflow.language.jsonpath.paths import compile_path
from rillflow.language.jsonpath.syntax import Indexes, Names
from rillflow.language.mapping.dropped_targets import KEPT_ROOTS, DroppedTarget, RuleTexts
from rillflow.language.mapping.ineffective_rules import IneffectiveRule, Kind, MissingKey
from rillflow.language.mapping.path_like import has_path_inside, literal_meant_as_path
from rillflow.language.mapping.secret_references import is_path
from rillflow.language.mapping.targets import Draft

_ROOTS: Final = ("context", "input", "output")
_NO_PLACE: Final = "the target leads to no place in this document"
_IS_TEXT: Final = "a text that looks like a path is copied as it is written"
_NOT_REPLACED: Final = "a path inside a text is not replaced by its value"

AfterWrite: TypeAlias = Callable[[Draft], IneffectiveRule | None]


class CheckedRule(RuleTexts, Protocol):
    """The texts of a copy rule, and whether it may have no effect."""

    @property
    def tolerance(self) -> bool | None:
        """Whether a failure of the rule is skipped."""


class WriteChecks(NamedTuple):
    """The checks of one rule.

    Attributes:
        after: Returns what was written without effect; None if that is impossible.
        no_place: What is reported if there was no place to write to.
    """

    after: AfterWrite | None
    no_place: IneffectiveRule


def write_checks(
    rule: CheckedRule, number: int, text: str, dropped: DroppedTarget | None, field: str
) -> WriteChecks:
    """Build the checks of a rule.

    Args:
        rule: The rule.
        number: Its position in its list, from 1.
        text: Source and target as they are written.
        dropped: Why its target is not kept, if so.
        field: The field of the definition that contains the list.
    """
    no_place = IneffectiveRule(number, text, Kind.NOT_WRITTEN, _NO_PLACE, _NO_PLACE)
    if dropped is not None and not dropped.is_place:
        why = dropped.reason
        return WriteChecks(None, IneffectiveRule(number, text, Kind.NOT_WRITTEN, why, why))
    told = _literal(rule, number, text)
    if dropped is not None:
        missing_key = (
            MissingKey(dropped.root, (KEPT_ROOTS[field],)) if dropped.root not in _ROOTS else None
        )
        told = IneffectiveRule(
            number, text, Kind.NOT_KEPT, dropped.reason, dropped.reason, missing_key
        )
    roots = _roots_of(rule.target or "")
    if roots:
        return WriteChecks(_root_check(roots, number, text, told), no_place)
    return WriteChecks(None if told is None else lambda _draft: told, no_place)


def _literal(rule: CheckedRule, number: int, text: str) -> IneffectiveRule | None:
    """Report a literal that was probably meant as a path, unless the rule says it is right."""
    source = rule.source or ""
    if rule.tolerance is True or is_path(source):
        return None
    meant = literal_meant_as_path(source)
    if meant:
        why = f"{_IS_TEXT}; did you mean `{meant}`?"
        return IneffectiveRule(number, text, Kind.LITERAL_PATH, why, _IS_TEXT)
    if has_path_inside(source):
        why = f"{_NOT_REPLACED}; a transform can put values together"
        return IneffectiveRule(number, text, Kind.LITERAL_PATH, why, _NOT_REPLACED)
    return None


def _root_check(
    roots: tuple[str, ...], number: int, text: str, told: IneffectiveRule | None
) -> AfterWrite:
    """Build the check of a target that may be the context, input or output as a whole."""

    def check(draft: Draft) -> IneffectiveRule | None:
        for name in roots:
            if name in draft.replaced:
                why = f"$.{name} as a whole cannot be replaced; what was written there is gone"
                return IneffectiveRule(number, text, Kind.ROOT, why, why)
        return told

    return check


def _roots_of(target: str) -> tuple[str, ...]:
    """Return the roots that a target is, or that an index at a root turns into a list."""
    try:
        tokens = compile_path(target).syntax.tokens
    except LanguageError:
        return ()
    if not tokens or (len(tokens) > 1 and not isinstance(tokens[1], Indexes)):
        return ()
    first = tokens[0]
    return tuple(filter(first.names.__contains__, _ROOTS)) if isinstance(first, Names) else _ROOTS
