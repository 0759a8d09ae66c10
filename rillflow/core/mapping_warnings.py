"""Mapping warnings: rules without effect, and what an execution keeps of them.

Warnings change no status. An instance keeps those of the last application of each of its mapping
lists, so a rule that has an effect in a later attempt is no longer reported. Texts and numbers are
bounded; warnings beyond the bounds are only counted. The first warning of each rule of the
definition is kept however many others there are, so that no rule hides another one.

Used by `core`, `runtime/owner/mapping_log.py` and `serve/routes/dry_runs.py`.
"""

from collections.abc import Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Final, NamedTuple

from rillflow.core.state import ExecutionState, RuleWarning, TaskState
from rillflow.errors import MappingError
from rillflow.ids import TaskName
from rillflow.language.mapping.ineffective_rules import AWAITED, IneffectiveRule
from rillflow.suggestions import did_you_mean

MOST_OF_RULE: Final = 100
"""Limit of the instances that keep a warning of the same rule."""
MOST_OF_TASK: Final = 20
"""Limit of the warnings that one instance keeps, of rules of which others keep one already."""
MOST_OF_EXECUTION: Final = 1000
"""Limit of the warnings that all instances keep together, of such rules."""
MOST_RULES: Final = 2000
"""Limit of all warnings of an execution, the first ones of its rules among them."""
MOST_CHARACTERS: Final = 300
"""Length limit of each text that is kept."""
MOST_SUGGESTIONS: Final = 20
"""Limit of the rules of one turn for which a similar key is searched, which takes time."""
_NUMBER: Final = attrgetter("number")
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
    suggested = 0
    for application in applications:
        field, rules = application.field, application.rules
        if not application.task:
            kept: Sequence[IneffectiveRule] = rules[:MOST_OF_EXECUTION]
            state.mapping_warnings += len(kept) - len(state.warnings)
            state.warnings = _warnings(field, kept, suggested)
        elif application.task in state.tasks:
            task = state.tasks[application.task]
            kept = _make_room(state, task, application) if rules or task.warning_counts else ()
            if kept:
                task.warnings = (*task.warnings, *_warnings(field, kept, suggested))
        else:
            continue
        suggested += len(kept)


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
    state.warnings_by_list = {}
    for task in state.tasks.values():
        if task.warning_counts:
            state.mapping_warnings += task.mapping_warnings
            _count_kept(state, task, task.warnings, 1)


def strict_error(field: str, told: IneffectiveRule, *, suggesting: bool) -> MappingError:
    """Make the error for a rule without effect in a strict execution."""
    where = f"{field} rule {told.number}, {_cut(told.rule)}" if told.number else field
    return MappingError(f"{where}: {_cut(_reason(told, suggesting=suggesting))}")


def _make_room(
    state: ExecutionState, task: TaskState, application: Application
) -> Sequence[IneffectiveRule]:
    """Drop what a task keeps of a list, and return what it is to keep of this application."""
    field, count = application.field, len(application.rules)
    before = [warning for warning in task.warnings if warning.field == field]
    if before:
        task.warnings = tuple(warning for warning in task.warnings if warning.field != field)
        _count_kept(state, task, before, -1)
    state.mapping_warnings += count - task.warning_counts.get(field, 0)
    counts = {**task.warning_counts, field: count}
    task.warning_counts = {name: number for name, number in counts.items() if number}
    return _admitted(state, task, application)


def _admitted(
    state: ExecutionState, task: TaskState, application: Application
) -> Sequence[IneffectiveRule]:
    """Choose the rules of which a warning is kept, and count them."""
    if not application.rules or state.warnings_kept >= MOST_RULES:
        return ()
    by_number = state.warnings_by_list.setdefault(_list_of(task, application.field), {})
    room = min(MOST_OF_TASK - len(task.warnings), MOST_OF_EXECUTION - state.warnings_kept)
    admitted: list[IneffectiveRule] = []
    if room <= 0 and not set(map(_NUMBER, application.rules)).difference(by_number):
        return ()  # as of most of many instances, and quickly
    for rule in application.rules[: MOST_RULES - state.warnings_kept]:
        of_rule = by_number.get(rule.number)
        if of_rule is None or (of_rule < MOST_OF_RULE and len(admitted) < room):
            admitted.append(rule)
    state.warnings_kept += len(admitted)
    for rule in admitted:
        by_number[rule.number] = by_number.get(rule.number, 0) + 1
    return admitted


def _count_kept(
    state: ExecutionState, task: TaskState, warnings: Sequence[RuleWarning], step: int
) -> None:
    """Count warnings as kept or, with a step of -1, as dropped."""
    state.warnings_kept += step * len(warnings)
    for warning in warnings:
        by_number = state.warnings_by_list.setdefault(_list_of(task, warning.field), {})
        # A snapshot of an earlier release has warnings that it did not count by rule.
        count = max(by_number.pop(warning.number, 0) + step, 0)
        if count:
            by_number[warning.number] = count


def _list_of(task: TaskState, field: str) -> str:
    return f"{task.base} {field}"


def _warnings(
    field: str, rules: Sequence[IneffectiveRule], suggested: int
) -> tuple[RuleWarning, ...]:
    return tuple(
        _warning(field, rule, suggesting=suggested + position < MOST_SUGGESTIONS)
        for position, rule in enumerate(rules)
    )


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
