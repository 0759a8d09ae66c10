"""Takes values that a state has in several places out of it, so that each is written once.

In memory a text that is mapped to the inputs of a hundred tasks is one object, since values never
change. Written as JSON it would be a hundred texts, and a hundred objects when it is read again.

Used by `core/encoding/codec.py`.
"""

from collections.abc import Iterator, Sequence
from copy import copy
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from rillflow.core.state import ExecutionState

LEAST_BYTES: Final = 1 << 20
"""A state that has made less is written as it is."""
LONG_CHARS: Final = 4_096
"""Texts from this length on are worth a place of their own."""
DEEPEST: Final = 4
"""How many levels below the context, an input or an output are looked at."""
MOST_ENTRIES: Final = 10_000
"""Containers with more entries are taken out whole, or not at all."""
_CONTAINERS_AND_TEXTS: Final = (str, dict, list)
_FEW: Final = 16
_SHORT_CHARS: Final = 256
_SHARED: Final = "shared"

Path: TypeAlias = tuple[str | int, ...]


class ApartState(NamedTuple):
    """A state without the values that it shares, these values, and their places in both.

    A place is the number of a value, and a path to where it belongs: names of fields, keys and
    indexes, from the state on, or after ``shared`` from the list of values.
    """

    state: ExecutionState
    shared: list[Any]
    places: list[tuple[int, Path]]


def values_apart(state: ExecutionState) -> ApartState | None:
    """Take the shared values out of a copy of a state; None if it shares nothing that is large."""
    if state.made_bytes + state.outputs_bytes < LEAST_BYTES:
        return None
    times = _Times()
    for _, value in _roots(state):
        times.count_in(value, DEEPEST)
    shared = {key for key, number in times.numbers.items() if number > 1}
    return _SharedValues(shared).apart(state) if shared else None


def values_restored(apart: ApartState) -> ExecutionState:
    """Put the shared values back into their places, and return the state.

    Raises:
        LookupError: A place does not exist.
        AttributeError: As above.
        TypeError: As above.
    """
    for number, path in apart.places:
        owner: Any = apart.state
        steps: Sequence[str | int] = path
        if path[0] == _SHARED:
            owner, steps = apart.shared, path[1:]
        for step in steps[:-1]:
            owner = getattr(owner, str(step)) if isinstance(owner, msgspec.Struct) else owner[step]
        owner[steps[-1]] = apart.shared[number]
    return apart.state


def _roots(state: ExecutionState) -> Iterator[tuple[Path, Any]]:
    """Yield the objects that hold values, with their paths; the state's own, never shared."""
    yield ("context",), state.context
    for name, task in state.tasks.items():
        yield ("tasks", name, "invoke", "input"), task.invoke.input
        yield ("tasks", name, "invoke", "output"), task.invoke.output
    for route, group in state.groups.items():
        yield ("groups", route, "context"), group.context


class _Times:
    """Counts in how many places each large value is; each container is looked into once."""

    def __init__(self) -> None:
        self.numbers: dict[int, int] = {}

    def count_in(self, value: Any, levels: int) -> None:
        """Count the values in a container."""
        if not value or not isinstance(value, dict | list) or len(value) > MOST_ENTRIES:
            return
        for each in value.values() if isinstance(value, dict) else value:
            if each.__class__ in _CONTAINERS_AND_TEXTS and _is_large(each):
                self._count(each, levels - 1)

    def _count(self, value: Any, levels: int) -> None:
        number = self.numbers[id(value)] = self.numbers.get(id(value), 0) + 1
        if number == 1 and levels:
            self.count_in(value, levels)


class _SharedValues:
    """Takes values out, each once, and those that they share out of them."""

    def __init__(self, wanted: set[int]) -> None:
        self._wanted = wanted
        self._numbers: dict[int, int] = {}
        self._shared: list[Any] = []
        self._places: list[tuple[int, Path]] = []

    def apart(self, state: ExecutionState) -> ApartState:
        """Take the values out of a copy of a state; what is not changed is not copied."""
        kept = copy(state)
        kept.tasks, kept.groups = dict(state.tasks), dict(state.groups)
        for path, value in _roots(state):
            rest = self._without(value, path, DEEPEST)
            if rest is not value:
                _replace(kept, path, rest)
        for number, value in enumerate(self._shared):  # which grows meanwhile
            self._shared[number] = self._without(value, (_SHARED, number), DEEPEST)
        return ApartState(kept, self._shared, self._places)

    def _without(self, value: Any, path: Path, levels: int) -> Any:
        rest = value
        for key, each in _entries(value):
            if id(each) in self._wanted:
                self._places.append((self._number_of(each), (*path, key)))
                kept = None
            elif levels > 1 and _is_large(each):
                kept = self._without(each, (*path, key), levels - 1)
            else:
                continue
            if kept is not each:
                rest = copy(value) if rest is value else rest
                rest[key] = kept
        return rest

    def _number_of(self, value: Any) -> int:
        number = self._numbers.setdefault(id(value), len(self._shared))
        if number == len(self._shared):
            self._shared.append(value)
        return number


def _replace(state: ExecutionState, path: Path, value: Any) -> None:
    """Replace what an owner in a copied state has, by a copy of the owner."""
    kind, *rest = path
    if kind == "context":
        state.context = value
    elif kind == "groups":
        group = state.groups[str(rest[0])] = copy(state.groups[str(rest[0])])
        group.context = value
    else:
        task = state.tasks[str(rest[0])] = copy(state.tasks[str(rest[0])])
        task.invoke = copy(task.invoke)
        setattr(task.invoke, str(rest[-1]), value)


def _entries(value: Any) -> Iterator[tuple[str | int, Any]]:
    if isinstance(value, dict) and len(value) <= MOST_ENTRIES:
        yield from value.items()
    elif isinstance(value, list) and len(value) <= MOST_ENTRIES:
        yield from enumerate(value)


def _is_large(value: Any) -> bool:
    """Tell whether a value may take more than its place in a list of values."""
    if isinstance(value, str):
        return len(value) >= LONG_CHARS
    if not isinstance(value, dict | list):
        return False
    if len(value) > _FEW:
        return True
    within = value.values() if isinstance(value, dict) else value
    return any(
        len(each) > _SHORT_CHARS if isinstance(each, str) else isinstance(each, dict | list)
        for each in within
    )
