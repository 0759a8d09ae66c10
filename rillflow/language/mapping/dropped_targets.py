"""Targets whose values are dropped after their mapping list (spec 2.1, 2.6).

Each list writes one part of the document that is kept: ``inputMappings`` the input,
``outputMappings`` the context. What a rule writes elsewhere is visible to later rules of the same
list only, so the rule has no effect if none of them reads it.

Used by `definition/lint/targets.py`, `language/mapping/mappings.py` and
`language/mapping/write_checks.py`.
"""

from collections.abc import Collection, Iterable, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol, TypeAlias

from rillflow.errors import LanguageError
from rillflow.language.jsonpath.paths import path_tokens
from rillflow.language.jsonpath.syntax import Token, key_of
from rillflow.language.mapping.secret_references import is_path
from rillflow.language.text.lexing import shorten

KEPT_ROOTS: Final = MappingProxyType(
    {"inputMappings": "input", "outputMappings": "context", "callback.inputMappings": "input"}
)
"""The part of the document that is kept, by the field of a list."""

_ROOTS: Final = ("context", "input", "output")

_Place: TypeAlias = tuple[str | None, str | int | None]
"""The first two keys of a path; None for a key that may be any."""


class RuleTexts(Protocol):
    """The texts of a copy rule."""

    @property
    def source(self) -> str | None:
        """Where the value comes from: a path, a trigger URL or a literal."""

    @property
    def transform(self) -> str | None:
        """An expression that replaces the value."""

    @property
    def target(self) -> str | None:
        """Where the value goes."""


class DroppedTarget(NamedTuple):
    """Why a target is not kept; ``root`` is its first name, empty if it has none."""

    reason: str
    root: str = ""
    is_place: bool = True


class Reads:
    """What rules read. If that is uncertain, as in filters, everything counts as read."""

    __slots__ = ("_all", "_places", "_roots", "_touched")

    def __init__(self, rules: Iterable[RuleTexts] = ()) -> None:
        self._all = False
        self._roots: set[str] = set()
        self._touched: set[str] = set()
        self._places: set[_Place] = set()
        for rule in rules:
            self.add(rule)

    def add(self, rule: RuleTexts) -> None:
        """Add what another rule reads."""
        transform, source = rule.transform or "", rule.source or ""
        for name in _ROOTS:
            if name in transform:
                self._roots.add(name)
                self._touched.add(name)
        if not is_path(source):
            return
        place = _place(_tokens(source))
        if place is None:
            return
        root, key = place
        if root is None or "$" in source[1:]:
            self._all = True
            return
        self._touched.add(root)
        if key is None:
            self._roots.add(root)
        else:
            self._places.add(place)

    def __contains__(self, place: _Place) -> bool:
        root, key = place
        if self._all or root is None or root in self._roots:
            return True
        return root in self._touched if key is None else place in self._places


def dropped_targets(
    rules: Sequence[RuleTexts], field: str, others: Collection[Reads] = ()
) -> dict[int, DroppedTarget]:
    """Return the rules, by their position from 0, whose targets are not kept.

    Args:
        rules: The list.
        field: The field of the list; for an unknown field the result is empty.
        others: What else is read of it.
    """
    kept_roots = KEPT_ROOTS.get(field)
    found: dict[int, DroppedTarget] = {}
    if kept_roots is None:
        return found
    names = field.rpartition(".")[2]
    reads = Reads()
    for position in reversed(range(len(rules))):
        rule = rules[position]
        dropped = dropped_target(rule.target, names, (kept_roots,), (reads, *others))
        if dropped is not None:
            found[position] = dropped
        reads.add(rule)
    return found


def dropped_target(
    target: str | None, names: str, kept_roots: Sequence[str], later: Iterable[Reads]
) -> DroppedTarget | None:
    """Return why a target is not kept; None if it is, or may be, or is malformed.

    Args:
        target: The target as it is written.
        names: The names of the list.
        kept_roots: The parts of the document that are kept.
        later: What is read of its values.
    """
    text = target or ""
    tokens = _tokens(text)
    if not tokens:
        return None
    kept = " and ".join(f"$.{root}" for root in kept_roots)
    if not text.startswith("$"):
        return DroppedTarget(
            f"`{shorten(text)}` leads to no place, since it lacks `$.`: {names} write to {kept}",
            is_place=False,
        )
    place = _place(tokens)
    if place is None or place[0] in kept_roots or any(place in reads for reads in later):
        return None
    why = f"`{shorten(text)}` does not last: {names} write to {kept}"
    return DroppedTarget(why, place[0] or "")


def _tokens(text: str) -> tuple[Token, ...] | None:
    """Return the steps of a path; None if it is not a path."""
    try:
        return path_tokens(text)
    except LanguageError:
        return None


def _place(tokens: tuple[Token, ...] | None) -> _Place | None:
    if tokens is None:
        return None
    root = key_of(tokens[0]) if tokens else None
    below = key_of(tokens[1]) if len(tokens) > 1 else None
    return (root if isinstance(root, str) else None), below
