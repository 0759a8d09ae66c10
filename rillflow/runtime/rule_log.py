"""Telling the author of a definition which rules of its mappings are passed over."""

import logging
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from rillflow.core.state import ExecutionState
from rillflow.ids import TaskName
from rillflow.language.mappings import PassedOver

log = logging.getLogger("rillflow.mappings")

MOST_TOLD: Final = 10_000
"""Rules that are remembered as told; others are told again."""


class RuleLog:
    """Logs each rule of a definition, and each reason, once: not for each execution.

    What is logged is the definition's text and the kind of error, never a value.
    """

    def __init__(self) -> None:
        self._told: OrderedDict[tuple[str, TaskName, PassedOver], None] = OrderedDict()

    def note(self, state: ExecutionState, rules: Sequence[tuple[TaskName, PassedOver]]) -> None:
        """Log what has not been logged yet of the rules that an execution passed over."""
        for task, rule in rules:
            key = (state.definition_id, task, rule)
            if key in self._told:
                self._told.move_to_end(key)
                continue
            self._told[key] = None
            if len(self._told) > MOST_TOLD:
                self._told.popitem(last=False)
            log.warning(
                "mapping_passed_over",
                extra={
                    "execution_id": state.execution_id,
                    "task": task,
                    "rule": rule.rule,
                    "reason": rule.reason,
                },
            )
