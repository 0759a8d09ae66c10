"""Targets: where a mapping writes (spec 2.6).

JSON values are shared and never changed in place, so a write copies each container on its path,
once per draft: the original documents stay as they were.

Used by `core`, `definition/lint` and `language/mapping`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from itertools import pairwise
from typing import Final, TypeAlias, cast

from rillflow.errors import BudgetExceededError, PathEvaluationError, PathSyntaxError
from rillflow.jsontypes import JsonObject, JsonValue
from rillflow.language.bounded_cache import BoundedCache
from rillflow.language.budget import REFERENCE_BYTES, TotalBudget
from rillflow.language.jsonpath.paths import Path, compile_path, compiled_bytes, path_tokens
from rillflow.language.jsonpath.steps import Key, Place
from rillflow.language.jsonpath.syntax import Function, Indexes, Names, Token
from rillflow.language.mapping.nesting import nesting_of
from rillflow.language.text.lexing import shorten

_Container: TypeAlias = JsonObject | list[JsonValue]
_Keys: TypeAlias = tuple[str | int, ...]

MAX_PADDING: Final = 100_000
_AROUND: Final = 8  # levels of the document around what is kept
_UNMEASURED: Final = 200  # levels that writes may add before the depth is measured
_SMALL: Final = 32  # copying so few entries costs no more than counting them
_KEYS_PER_STEP: Final = 4
_FREE_KEYS: Final = 3  # of a target; each more may copy a map or list
_CACHED_BYTES: Final = 1 << 25
_CACHED_CHARS: Final = 1024


class Draft:
    """A document while a mapping list writes it.

    Attributes:
        document: The document; it changes in place, so the caller no longer uses it.
        replaced: The entries of the document that writes have replaced as a whole, as
            they were before. Such a write, and those below it, are not kept after the
            mapping list.
        levels: How much deeper lists and maps may be nested since that was measured.
    """

    __slots__ = ("budget", "document", "levels", "owned", "replaced")

    def __init__(self, document: JsonObject, budget: TotalBudget | None = None) -> None:
        """Begin; copies, and lists that are extended, are charged to the budget."""
        self.budget = budget or TotalBudget()
        self.document = document
        self.levels = 0
        self.replaced: JsonObject = {}
        self.owned: dict[int, _Container] = {}

    def owns(self, name: str) -> bool:
        """Tell whether an entry of the document has been copied or made by a write."""
        return id(self.document.get(name)) in self.owned

    def share(self) -> None:
        """Give up the ownership of all containers: a value is about to occur twice."""
        self.owned.clear()
        self.document = dict(self.document)

    def receive(self, levels: int, reads: Iterable[str] | None) -> None:
        """Prepare for a list or map that is about to be written below so many others.

        It limits the depth of the document, so that no other code has to check it: once a mapping
        list has nested the document too deeply, its further rules fail here. ``reads`` are the
        entries of the document of which the value may have parts, None is all.

        Raises:
            BudgetExceededError: The document is nested too deeply already.
            WorkLimitError: Nothing is left of the budget.
        """
        self.levels += levels
        if self.levels > _UNMEASURED:
            self._refuse_too_deep()
            self.levels = levels
        if reads is None or any(map(self.owns, reads)):
            self.share()

    def _refuse_too_deep(self) -> None:
        most = self.budget.max_nesting
        if nesting_of(self.document, self.budget) > most + _AROUND:
            raise BudgetExceededError(f"lists and maps would be nested deeper than {most} levels")

    def lasting(self, name: str) -> JsonValue:
        """Return an entry of the document as it is kept after the mapping list."""
        return self.replaced[name] if name in self.replaced else self.document[name]

    def own(self, parent: _Container, key: str | int, child: _Container) -> _Container:
        """Return the child of an owned container, copied unless it is owned already."""
        if id(child) in self.owned:
            return child
        if len(child) > _SMALL:
            self.budget.copy(child)
        copy = child.copy()
        self.owned[id(copy)] = copy
        if type(parent) is dict and type(key) is str:
            parent[key] = copy
        else:
            _set(parent, key, copy)
        return copy

    def put(self, parent: _Container, key: Key, value: JsonValue) -> None:
        """Set a member or element of an owned container.

        Raises:
            PathEvaluationError: The container has no such place.
        """
        if parent is self.document and isinstance(key, str) and key not in self.replaced:
            self.replaced[key] = self.document.get(key)
        if type(parent) is dict and type(key) is str:
            parent[key] = value
        elif not _set(parent, key, value):
            raise PathEvaluationError(f"no map or list that could hold {shorten(str(key))}")

    def make(self, parent: _Container, key: str | int, fresh: _Container) -> _Container:
        """Put a new container into an owned one, and own it too."""
        self.put(parent, key, fresh)
        self.owned[id(fresh)] = fresh
        return fresh

    def set_places(self, places: Iterable[Place], value: JsonValue) -> bool:
        """Set a value at places that a path found in this document, inner ones first.

        Returns:
            Whether there was a place to set.

        Raises:
            PathEvaluationError: The whole document is one of the places.
            WorkLimitError: Nothing is left of the budget.
        """
        is_set = False
        for keys in sorted(map(_keys_of, places), key=len, reverse=True):
            if not keys:
                raise PathEvaluationError("the whole document cannot be replaced")
            is_set = self._set_at(keys, value) or is_set
        return is_set

    def _set_at(self, keys: list[Key], value: JsonValue) -> bool:
        self.budget.spend(len(keys))
        container: _Container = self.document
        for key in keys[:-1]:
            # Inner places come first, so the containers around them still exist.
            child = cast("_Container", _get(container, key))
            container = self.own(container, cast("str | int", key), child)
        last, is_set = keys[-1], False
        if isinstance(last, tuple):
            self.budget.cost(len(last) // _KEYS_PER_STEP)
        for key in last if isinstance(last, tuple) else (last,):
            if not isinstance(key, int) or key >= 0:
                self.put(container, key, value)
                is_set = True
        return is_set


class Target(ABC):
    """A compiled target.

    Attributes:
        text: As it was written.
        keys: The keys from the document to the place that it names; empty if it names
            none, or selects several.
        levels: How many lists and maps enclose what it writes.
    """

    __slots__ = ("keys", "levels", "text")

    def __init__(self, text: str, keys: _Keys = (), levels: int = 0) -> None:
        self.text = text
        self.keys = keys
        self.levels = levels

    @abstractmethod
    def write(self, draft: Draft, value: JsonValue) -> bool:
        """Write a value; missing maps and lists on the path are created.

        Before an index ``[n]``, a value that is not a list is replaced by one, and lists are padded
        with null. A wildcard, slice, filter or list of indexes at the end updates the existing
        elements; if there is nothing, it leaves an empty map.

        Returns:
            Whether the value has been written anywhere.

        Raises:
            PathEvaluationError: A scalar, or the wrong container, is on the path.
            BudgetExceededError: The list would be padded by more than 100,000 elements.
            WorkLimitError: Nothing is left of the draft's budget.
        """


class _Nowhere(Target):
    """A path without ``$``: it writes into a document that is dropped."""

    __slots__ = ()

    def write(self, draft: Draft, value: JsonValue) -> bool:
        """Write nothing."""
        del draft, value
        return False


class _Slot(Target):
    """One member or element."""

    __slots__ = ("_last", "_steps", "_way")

    def __init__(self, text: str, keys: _Keys) -> None:
        super().__init__(text, keys, len(keys))
        self._steps = max(0, len(keys) - _FREE_KEYS)
        self._way = tuple(pairwise(keys))
        self._last = keys[-1]

    def write(self, draft: Draft, value: JsonValue) -> bool:
        """Set the member or element."""
        if self._steps:
            draft.budget.cost(self._steps)
        container: _Container = draft.document
        for key, follower in self._way:
            child = container.get(key) if type(container) is dict else None  # type: ignore[arg-type]
            if type(child) is dict and type(follower) is str:
                container = draft.own(container, key, child)
            else:
                container = _enter(draft, container, key, follower)
        last = self._last
        if type(container) is dict and type(last) is str and container is not draft.document:
            container[last] = value
        else:
            draft.put(container, last, value)
        return True


class _Selection(Target):
    """The results of the last step of a path."""

    __slots__ = ("_makes_members", "_path", "_way")

    def __init__(self, text: str, keys: _Keys, path: Path) -> None:
        super().__init__(text, levels=len(path.syntax.tokens))
        self._path = path
        self._way = tuple(zip(keys, [*keys[1:], None], strict=True)) if keys else ()
        self._makes_members = isinstance(path.syntax.tokens[-1], Names)

    def write(self, draft: Draft, value: JsonValue) -> bool:
        """Set the value at every place that the path finds."""
        draft.budget.cost(1 + len(self._way))
        container: _Container = draft.document
        is_new = False
        for key, follower in self._way:
            is_new = _get(container, key) is None
            container = _enter(draft, container, key, follower)
        if is_new and not self._makes_members:
            return False
        return draft.set_places(self._path.places(draft.document, draft.budget), value)


def compile_target(text: str) -> Target:
    """Compile a target; recent ones of ordinary length are cached.

    Raises:
        PathSyntaxError: The text is not a path, is the whole document or a function, or
            has a wildcard, filter, slice, scan or negative index before its end.
        BudgetExceededError: It is too long or too deep.
    """
    if len(text) > _CACHED_CHARS:
        return _compile(text)
    return _targets.get(text) or _targets.put(text, _compile(text), compiled_bytes(text))


_targets: Final = BoundedCache[Target](_CACHED_BYTES)


def check_target(text: str) -> None:
    """Raise what ``compile_target`` raises."""
    _keys_of_target(text, path_tokens(text))


def _compile(text: str) -> Target:
    path = compile_path(text)
    keys = _keys_of_target(text, path.syntax.tokens)
    if keys is None:
        return _Nowhere(text)
    way, last = keys
    return _Selection(text, way, path) if last is None else _Slot(text, (*way, last))


def _keys_of_target(text: str, tokens: tuple[Token, ...]) -> tuple[_Keys, str | int | None] | None:
    """Return the keys that lead to the end of a target, and that of the end."""
    if not tokens or isinstance(tokens[-1], Function):
        raise PathSyntaxError(f"not a place to write to: {shorten(text)}")
    if not text.startswith("$"):
        return None
    keys = tuple(map(_key_of, tokens))
    way = tuple(key for key in keys[:-1] if key is not None)
    if len(way) < len(tokens) - 1:
        raise PathSyntaxError(f"only the end of a target may select: {shorten(text)}")
    return way, keys[-1]


def _key_of(token: Token) -> str | int | None:
    """Return the key of a token that names one member or element, else None."""
    if isinstance(token, Names) and len(token.names) == 1:
        return token.names[0]
    if isinstance(token, Indexes) and len(token.indexes) == 1 and token.indexes[0] >= 0:
        return token.indexes[0]
    return None


def _enter(
    draft: Draft, container: _Container, key: str | int, follower: str | int | None
) -> _Container:
    """Return the owned container at a key, created as its next key requires.

    ``follower`` is the next key, None before a selection.
    """
    child = _get(container, key)
    if isinstance(follower, int):
        if isinstance(child, list):
            inside = draft.own(container, key, child)
        else:
            inside = draft.make(container, key, [])
        _pad(draft, inside, follower)
        return inside
    if isinstance(child, dict | list):
        return draft.own(container, key, child)
    if child is not None:
        raise PathEvaluationError(f"a scalar is on the way, at {shorten(str(key))}")
    return draft.make(container, key, {})


def _pad(draft: Draft, elements: _Container, index: int) -> None:
    missing = index + 1 - len(elements)
    if missing > MAX_PADDING:
        raise BudgetExceededError(f"index {index} would pad a list by {missing} elements")
    if missing > 0 and isinstance(elements, list):
        draft.budget.spend(missing >> 3)
        draft.budget.make(missing * REFERENCE_BYTES)
        elements.extend([None] * missing)


def _get(container: _Container, key: Key) -> JsonValue:
    if isinstance(container, dict):
        return container.get(key) if isinstance(key, str) else None
    is_inside = isinstance(key, int) and 0 <= key < len(container)
    return container[key] if is_inside and isinstance(key, int) else None


def _set(container: _Container, key: Key, value: JsonValue) -> bool:
    """Set a member or element, and return whether the container has room for it."""
    if isinstance(container, dict) and isinstance(key, str):
        container[key] = value
        return True
    if isinstance(container, list) and isinstance(key, int) and 0 <= key < len(container):
        container[key] = value
        return True
    return False


def _keys_of(place: Place) -> list[Key]:
    keys: list[Key] = []
    while place:
        place, key = place
        keys.append(key)
    return keys[::-1]
