"""Mapping warnings: rules without effect, and what an execution keeps of them.

Warnings change no status. An instance keeps those of the last application of each of its mapping
lists, so a rule that has an effect in a later attempt is no longer reported. Texts and numbers are
bounded; warnings beyond the bounds are only counted.

Used by `core`, `runtime/owner/mapping_log.py` and `serve/routes/dry_runs.py`.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from rillflow.core.state import ExecutionState, RuleWarning, TaskState
from rillflow.errors import MappingError
from rillflow.ids import TaskName
from rillflow.language.mapping.ineffective_rules import AWAITED, IneffectiveRule
from rillflow.suggestions import did_you_mean

MOST_OF_TASK: Final = 20
"""Limit of the warnings that one instance keeps."""
MOST_OF_EXECUTION: Final = 1000
"""Limit of the warnings that all instances of an execution keep together."""
MOST_CHARACTERS: Final = 300
"""Length limit of each text that is kept."""
MOST_SUGGESTIONS: Final = 20
"""Limit of the rules of one turn for which a similar key is searched, which takes time."""
COMPLETION: Final = "callback.inputMappings"
INPUTS: Final = "inputMappings"


class Application(NamedTuple):
    """One application of a mapping list in a turn, with its rules without effect.

    ``task`` is the instance, empty for the completion callback; ``base`` its name in the
    definition; ``field`` the field of the definition that contains the list.
    """

    task: TaskName
    base: TaskName
    field: str
    rules: tuple[IneffectiveRule, ...]


def keep(state: ExecutionState, applications: list[Application]) -> None:
    """Keep the warnings of a turn's mapping lists in place of those of earlier applications."""
    told = 0
    for application in applications:
        rules = [
            _warning(application.field, rule, suggesting=told + position < MOST_SUGGESTIONS)
            for position, rule in enumerate(application.rules[:MOST_OF_TASK])
        ]
        told += len(rules)
        if not application.task:
            state.mapping_warnings += len(rules) - len(state.warnings)
            state.warnings = tuple(rules)
        elif application.task in state.tasks:
            _keep_of_task(state, state.tasks[application.task], application, rules)


def leave_out_awaited(applications: list[Application], task: TaskName) -> None:
    """Drop warnings of the input mappings of a suspense whose values a wake-up may still bring."""
    last = applications[-1] if applications else None
    if last is not None and last.task == task and last.field == INPUTS:
        kept = tuple(rule for rule in last.rules if rule.kind not in AWAITED)
        applications[-1] = last._replace(rules=kept)


def warnings_of(field: str, rules: Sequence[IneffectiveRule]) -> list[RuleWarning]:
    """Return the warnings that a task would keep of one application of a mapping list."""
    return [_warning(field, rule, suggesting=True) for rule in rules[:MOST_OF_TASK]]


def recount(state: ExecutionState) -> None:
    """Count the warnings again after a redo, which drops and resets instances."""
    state.mapping_warnings = len(state.warnings)
    state.warnings_kept = 0
    for task in state.tasks.values():
        state.mapping_warnings += task.mapping_warnings
        state.warnings_kept += len(task.warnings)


def strict_error(field: str, told: IneffectiveRule, *, suggesting: bool) -> MappingError:
    """Make the error for a rule without effect in a strict execution."""
    where = f"{field} rule {told.number}, {_cut(told.rule)}" if told.number else field
    return MappingError(f"{where}: {_cut(_reason(told, suggesting=suggesting))}")


def _keep_of_task(
    state: ExecutionState, task: TaskState, application: Application, rules: list[RuleWarning]
) -> None:
    field, count = application.field, len(application.rules)
    others = [warning for warning in task.warnings if warning.field != field]
    of_others = state.warnings_kept - len(task.warnings)
    room = min(MOST_OF_TASK, MOST_OF_EXECUTION - of_others) - len(others)
    state.mapping_warnings += count - task.warning_counts.get(field, 0)
    task.warnings = (*others, *rules[: max(room, 0)])
    state.warnings_kept = of_others + len(task.warnings)
    counts = {**task.warning_counts, field: count}
    task.warning_counts = {name: number for name, number in counts.items() if number}


def _warning(field: str, told: IneffectiveRule, *, suggesting: bool) -> RuleWarning:
    reason = _cut(_reason(told, suggesting=suggesting))
    return RuleWarning(field, told.number, _cut(told.rule), told.kind.value, reason)


def _reason(told: IneffectiveRule, *, suggesting: bool) -> str:
    if told.missing_key is None or not suggesting:
        return told.reason
    suggestion = _suggestion(told.missing_key.key, told.missing_key.near)
    return f"{told.reason}; {suggestion}" if suggestion else told.reason


@lru_cache(maxsize=256)
def _suggestion(key: str, near: tuple[str, ...]) -> str:
    """Return the most similar key; cached, since executions of one definition ask the same."""
    return did_you_mean(key, near)


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 3]}..."
