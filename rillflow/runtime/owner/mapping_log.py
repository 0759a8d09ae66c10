"""Log events for mapping rules that fail, for the authors of definitions.

Used by `runtime/owner/call_handling.py`.
"""

import logging
from collections.abc import Sequence
from typing import Final

from cachetools import LRUCache, TTLCache

from rillflow.core.mapping_warnings import Application
from rillflow.core.state import ExecutionState
from rillflow.ids import TaskName, workspace_of
from rillflow.ports.clock import Clock

log = logging.getLogger("rillflow.mappings")

MOST_TOLD: Final = 10_000
"""Limit of the logged rules that are remembered; others are logged again."""
MOST_A_MINUTE: Final = 100
"""So many rules of a workspace are logged in a minute; the others with an execution after it.

A definition may have thousands that fail, and the event loop waits for each line.
"""
_MINUTE_S: Final = 60.0
_MOST_WORKSPACES: Final = 1_000


class _Room:
    """How many rules of a workspace may still be logged in this minute."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MOST_A_MINUTE


class MappingLog:
    """Logs each failing rule of a definition once for each reason, not once for each execution.

    A log event has the text of the definition and the kind of error, never a value. A rule whose
    source is missing is kept with its task only, because it may be optional.
    """

    def __init__(self, clock: Clock) -> None:
        self._told = LRUCache[tuple[str, TaskName, str, str], bool](MOST_TOLD)
        self._rooms = TTLCache[str, _Room](_MOST_WORKSPACES, _MINUTE_S, timer=clock.monotonic_s)

    def note(self, state: ExecutionState, mapped: Sequence[Application]) -> None:
        """Log the rules that failed in an execution and were not logged yet."""
        room = None
        for application in mapped:
            for told in application.rules:
                if not told.loggable:
                    continue
                key = (state.definition_id, application.base, told.rule, told.loggable)
                if self._told.get(key):  # which is a use, so that what is frequent stays
                    continue
                room = room or self._room_of(workspace_of(state.execution_id))
                if not room.left:
                    return
                room.left -= 1
                self._told[key] = True
                _log(state, application.base, told.rule, told.loggable)

    def _room_of(self, workspace: str) -> _Room:
        room = self._rooms.get(workspace)
        if room is None:
            room = self._rooms[workspace] = _Room()
        return room


def _log(state: ExecutionState, task: TaskName, rule: str, reason: str) -> None:
    facts = {"execution_id": state.execution_id, "task": task, "rule": rule, "reason": reason}
    log.warning("mapping_passed_over", extra=facts)
