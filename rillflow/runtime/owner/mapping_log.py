"""Log events for mapping rules that fail, for the authors of definitions.

Used by `runtime/owner/call_handling.py`.
"""

import logging
from collections.abc import Sequence
from typing import Final

from cachetools import LRUCache

from rillflow.core.mapping_warnings import Application
from rillflow.core.state import ExecutionState
from rillflow.ids import TaskName

log = logging.getLogger("rillflow.mappings")

MOST_TOLD: Final = 10_000
"""Limit of the logged rules that are remembered; others are logged again."""


class MappingLog:
    """Logs each failing rule of a definition once for each reason, not once for each execution.

    A log event has the text of the definition and the kind of error, never a value. A rule whose
    source is missing is kept with its task only, because it may be optional.
    """

    def __init__(self) -> None:
        self._told = LRUCache[tuple[str, TaskName, str, str], bool](MOST_TOLD)

    def note(self, state: ExecutionState, mapped: Sequence[Application]) -> None:
        """Log the rules that failed in an execution and were not logged yet."""
        for application in mapped:
            for told in application.rules:
                if told.loggable:
                    self._log(state, application.base, told.rule, told.loggable)

    def _log(self, state: ExecutionState, task: TaskName, rule: str, reason: str) -> None:
        key = (state.definition_id, task, rule, reason)
        if self._told.get(key):  # which is a use, so that what is frequent stays
            return
        self._told[key] = True
        facts = {"execution_id": state.execution_id, "task": task, "rule": rule, "reason": reason}
        log.warning("mapping_passed_over", extra=facts)
