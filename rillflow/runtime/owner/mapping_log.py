"""Telling the author of a definition which rules of its mappings are passed over."""

import logging
from collections.abc import Sequence
from typing import Final

from cachetools import LRUCache

from rillflow.core.mapping_warnings import Application
from rillflow.core.state import ExecutionState
from rillflow.ids import TaskName

log = logging.getLogger("rillflow.mappings")

MOST_TOLD: Final = 10_000
"""Rules that are remembered as told; others are told again."""


class MappingLog:
    """Logs each rule of a definition that fails, and each reason, once: not for each execution.

    What is logged is the definition's text and the kind of error, never a value. A rule whose
    source is not there is kept with its task only: it may be optional.
    """

    def __init__(self) -> None:
        self._told = LRUCache[tuple[str, TaskName, str, str], bool](MOST_TOLD)

    def note(self, state: ExecutionState, mapped: Sequence[Application]) -> None:
        """Log what has not been logged yet of the rules that failed in an execution."""
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
