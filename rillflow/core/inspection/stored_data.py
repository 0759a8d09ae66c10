"""What a task has stored of what its rules gave: its input, and the output of its groups.

A foreach stores its input without the collection, and a function task adds its parameters.

Used by `runtime/histories/past_rules.py`.
"""

from typing import NamedTuple

from rillflow.core.inspection.rules import budget_of
from rillflow.core.plan import Plan, TaskPlan
from rillflow.core.state import ExecutionState, TaskState
from rillflow.core.status import COMPLETED, TaskStatus
from rillflow.core.tasks.groups import group_output, parent_status
from rillflow.core.tasks.iterations import without
from rillflow.definition.model import ForeachTask, FunctionTask, IterationMapping
from rillflow.errors import LanguageError, RequestError, WorkLimitError
from rillflow.jsontypes import JsonObject, JsonValue
from rillflow.language.budget import TotalBudget
from rillflow.language.jsonpath.paths import compile_path


class StoredInput(NamedTuple):
    """The input that an instance has stored, and the elements that a foreach took out of it."""

    input: JsonObject
    elements: list[JsonValue] | None


def stored_input(plan: Plan, state: ExecutionState, task: TaskState) -> StoredInput | None:
    """Return what an instance has stored of its input; None if it has stored none."""
    if task.invoke.input is None:
        return None
    spec, elements = plan.by_name[task.base].spec, None
    if isinstance(spec, ForeachTask) and task.routes:
        item = _iteration(spec).item or ""
        groups = (state.groups[route] for route in task.routes)
        elements = task.collection or [group.context.get(item) for group in groups]
    return StoredInput(task.invoke.input, elements)


def is_stored_input(
    plan: TaskPlan, state: ExecutionState, given: JsonObject, stored: StoredInput
) -> bool:
    """Tell whether an instance that is given an input stores just that.

    Args:
        plan: The task.
        state: The execution, whose budget the path of a collection has.
        given: What its input mappings gave.
        stored: What the instance has stored.

    Raises:
        RequestError: The path of the collection exceeds the budget of one turn.
    """
    spec = plan.spec
    if stored.elements is not None and isinstance(spec, ForeachTask):
        path = _iteration(spec).collection or ""
        try:
            if _at(path, given, budget_of(state)) != stored.elements:
                return False
        except WorkLimitError as error:
            raise RequestError(str(error)) from error
        return without(given, path) == stored.input
    if isinstance(spec, FunctionTask) and spec.parameters:
        added = stored.input.keys() & (spec.parameters.keys() - given.keys())
        given = {**given, **{key: stored.input[key] for key in added}}
    return given == stored.input


def output_of_groups(plan: Plan, state: ExecutionState, task: TaskState) -> JsonObject | None:
    """Return what the groups of an instance gave to its output mappings.

    None if it has no groups, if not all of them have ended, or if all were skipped: then the
    output mappings are not applied.
    """
    counts = task.group_counts
    if not task.routes or counts[TaskStatus.SKIPPED] == len(task.routes):
        return None
    if not COMPLETED[parent_status(counts)]:
        return None
    return group_output(state, task, plan.by_name[task.base])


def _iteration(spec: ForeachTask) -> IterationMapping:
    return spec.iteration_mapping or IterationMapping()


def _at(path: str, given: JsonObject, budget: TotalBudget) -> JsonValue:
    try:
        return compile_path(path, budget).find({"input": given}, budget)
    except LanguageError:
        return None
