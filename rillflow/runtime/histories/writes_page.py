"""A page of what tasks wrote into contexts, filled while events are replayed.

Used by `runtime/histories/cache.py`.
"""

from typing import Final

from rillflow.core.inspection.history.recording import Recorder
from rillflow.core.inspection.history.writes import Room, shown_changes
from rillflow.jsontypes import JsonObject, JsonValue

MOST_OF_EVENT: Final = 100
"""How many writes of one event are shown; a foreach may have thousands in one."""
_MOST_CHANGES: Final = 2_000
_MOST_BYTES: Final = 512 << 10


class WritesPage:
    """Writes in order; a page ends with an event, so it may have some more than its limit."""

    def __init__(self, after: int, limit: int) -> None:
        self._seq = after
        self._limit = limit
        self._room = Room(_MOST_CHANGES, _MOST_BYTES)
        self._writes: list[JsonValue] = []
        self._left_out = 0

    @property
    def is_full(self) -> bool:
        """Tell whether no further event has room."""
        return len(self._writes) >= self._limit or self._room.is_full

    def note(self, recorder: Recorder, row: JsonObject) -> None:
        """Add what the last event of a replay wrote, if it has room."""
        if self.is_full:
            return
        self._seq = recorder.seq
        self._left_out += max(len(recorder.writes) - MOST_OF_EVENT, 0)
        for write in recorder.writes[:MOST_OF_EVENT]:
            changes, more = shown_changes(write.before, write.after, self._room)
            if changes or more:
                self._writes.append(
                    {
                        "seq": recorder.seq,
                        "at_ms": row["at_ms"],
                        "kind": row["kind"],
                        "task": write.task,
                        "route": write.route,
                        "changes": changes,
                        "more": more,
                    }
                )

    def shown(self, last_seq: int) -> JsonObject:
        """Return the page of a journal with so many events."""
        return {
            "last_seq": last_seq,
            "writes": self._writes,
            "left_out": self._left_out,
            "next": str(self._seq) if self._seq < last_seq else None,
        }
