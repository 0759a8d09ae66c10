"""What tasks wrote into contexts: noted while an event is replayed, and shown as differences.

A context is never changed in place: whoever writes stores a new object. So what was there before
and after a write can be kept and compared later.

Used by `core/inspection/history/recording.py` and `runtime/histories`.
"""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from rillflow.core.inspection.cutting import cut, escaped
from rillflow.core.plan import Plan
from rillflow.core.state import ExecutionState, GroupState, TaskState
from rillflow.core.turn import Turn
from rillflow.jsontypes import JsonObject, JsonValue, encode_json

MOST_CHANGES: Final = 200
_LONGEST_PATH: Final = 4_096
_VALUE_BYTES: Final = 4_096


class Write(NamedTuple):
    """One context before and after a task wrote it.

    ``task`` is the instance, empty for data of a submission or a redo. ``route`` is that of the
    group whose context it is, empty for the execution's own.
    """

    task: str
    route: str
    before: JsonObject
    after: JsonObject


class RecordedTurn(Turn):
    """A turn that notes who wrote which context."""

    __slots__ = ("_writer", "first_context", "writes")

    def __init__(self, plan: Plan, state: ExecutionState, at_ms: int) -> None:
        super().__init__(plan, state, at_ms)
        self.first_context = state.context
        self.writes: list[Write] = []
        self._writer = ""

    def save_context(self, task: TaskState, context: JsonObject) -> None:
        """Store a context after mappings, and note that the task wrote it."""
        self._writer = task.name
        try:
            super().save_context(task, context)
        finally:
            self._writer = ""

    def save(self, context: JsonObject, scope: ExecutionState | GroupState) -> None:
        """Store a context, and note it if it is another one."""
        before = scope.context
        super().save(context, scope)
        if scope.context is not before:
            route = scope.route if isinstance(scope, GroupState) else ""
            self.writes.append(Write(self._writer, route, before, scope.context))


def lasting(writes: Sequence[Write], state: ExecutionState) -> list[Write]:
    """Return the writes that were not taken back within their event, after which a state is.

    What a refused signal has written is restored to what was there before it.
    """
    then: dict[str, JsonObject | None] = {}
    kept: list[Write] = []
    for write in reversed(writes):
        route = write.route
        if then.get(route, _context_of(state, route)) is write.after:
            kept.append(write)
            then[route] = write.before
    kept.reverse()
    return kept


def _context_of(state: ExecutionState, route: str) -> JsonObject | None:
    if not route:
        return state.context
    group = state.groups.get(route)
    return None if group is None else group.context


def contexts_of(state: ExecutionState) -> dict[str, JsonObject]:
    """Return the context of the execution, under an empty name, and those of groups by route."""
    return {"": state.context, **{route: each.context for route, each in state.groups.items()}}


class Room:
    """How many changes, and how many bytes of them, an answer may still show."""

    def __init__(self, changes: int, most_bytes: int) -> None:
        self.changes = changes
        self.bytes = most_bytes

    @property
    def is_full(self) -> bool:
        """Tell whether nothing more has room."""
        return self.changes <= 0 or self.bytes <= 0

    def take(self, change: JsonObject) -> None:
        """Count a change that is shown."""
        self.changes -= 1
        self.bytes -= len(encode_json(change))


def shown_changes(
    before: JsonObject, after: JsonObject, room: Room, **named: str
) -> tuple[list[JsonValue], int]:
    """Return what differs between two contexts, each as ``named``, and how many have no room."""
    found: list[JsonValue] = []
    more = 0
    for key in _changed(before, after):
        if room.is_full:
            more += 1
            continue
        path = "/" + escaped(key)
        change: JsonObject = {
            **named,
            "path": path[:_LONGEST_PATH],
            "op": "add" if key not in before else "replace" if key in after else "remove",
            "before": cut(before.get(key), _VALUE_BYTES, path),
            "after": cut(after.get(key), _VALUE_BYTES, path),
        }
        room.take(change)
        found.append(change)
    return found, more


def _changed(before: JsonObject, after: JsonObject) -> Iterator[str]:
    for key in {**before, **after}:
        if key not in before or key not in after or before[key] != after[key]:
            yield key
