"""The groups of a foreach or choice: how they begin and end, and the task with them (spec 3.9).

Also the choice, which makes one for each branch. Those of a foreach are made in
`core/tasks/iterations.py`.

Used by `core`, `core/redo` and `core/inspection`.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from rillflow.core.encoding.stored_context import stored_context
from rillflow.core.plan import LevelPlan, TaskPlan
from rillflow.core.state import STATUS_COUNT, ExecutionState, GroupState, TaskState
from rillflow.core.status import COMPLETED, SATISFIED_IN_KEY_MODE, TaskStatus
from rillflow.core.tasks import controls
from rillflow.core.tasks.kept_outputs import drop_outputs
from rillflow.core.turn import CRASHES, TASK_ERRORS, Turn
from rillflow.errors import ExecutionError, LanguageError
from rillflow.jsontypes import JsonObject, JsonValue
from rillflow.language.mapping.conditions import holds

LIMIT_REACHED: Final = 30507
STEPS_EACH: Final = 10
"""Steps that a turn is charged for a group or an instance that it makes."""
BYTES_EACH: Final = 1024
"""Bytes of memory that a turn is charged for a group or an instance that it makes."""
NO_GROUPS: Final = (0,) * STATUS_COUNT
EMPTY_CHOICE = "choices collection empty"


def charge(
    turn: Turn, task: TaskState, groups: int, levels: Sequence[LevelPlan], *, in_steps: bool = True
) -> None:
    """Charge groups and their instances before they are made, in memory and in steps.

    Executions whose submission names no limit, such as those of older releases, are not charged.

    Raises:
        ExecutionError: The execution would exceed its limit of groups or instances (30507).
        WorkLimitError: The turn has exceeded its budget.
    """
    if turn.state.execution_max_tasks is None:
        return
    made = check_room(turn, task, groups, levels)
    if in_steps:
        turn.budget.spend(made * STEPS_EACH)
    turn.budget.make(made * BYTES_EACH)


def check_room(turn: Turn, task: TaskState, groups: int, levels: Sequence[LevelPlan]) -> int:
    """Return how many groups and instances would be made, if the execution may have them.

    Raises:
        ExecutionError: It may not (30507).
    """
    tasks = sum(len(level.tasks) for level in levels) * (groups // len(levels))
    try:
        refuse_too_many(turn.state, groups=groups, tasks=tasks)
    except ExecutionError as error:
        task.invoke.code = str(error.wire_code)
        raise
    return groups + tasks


def refuse_too_many(state: ExecutionState, *, groups: int, tasks: int) -> None:
    """Refuse groups and instances beyond the limits of the execution.

    Raises:
        ExecutionError: A limit would be exceeded (30507).
    """
    most = state.execution_max_tasks
    wanted = max(len(state.tasks) + tasks, len(state.groups) + groups)
    if most is not None and wanted > most:
        raise ExecutionError(
            f"the execution would have {wanted} tasks or groups, and may have {most}, as the"
            " setting execution_max_tasks (RILLFLOW_EXECUTION_MAX_TASKS) said when it began",
            LIMIT_REACHED,
        )


def run_choice(turn: Turn, task: TaskState, plan: TaskPlan, document: JsonObject) -> None:
    """Start the group of every branch whose condition is true, all at once."""
    if not plan.branches:
        controls.succeed(turn, task, EMPTY_CHOICE)
        return
    conditions = [condition for condition in plan.conditions if condition is not None]
    if len(conditions) < len(plan.conditions):
        raise ExecutionError("choice condition is null")
    charge(turn, task, len(plan.branches), plan.branches)
    chosen = [_branch_holds(turn, condition, document) for condition in conditions]
    made = turn.budget.made_bytes
    inside = stored_context(document, {}, turn.state.context_max_bytes, turn.budget)
    made = turn.budget.made_bytes - made
    turn.set_status(task, TaskStatus.RUNNING)
    for index, holds_true in enumerate(chosen):
        context, size = (inside, made) if holds_true else ({}, 0)
        group = new_group(turn, task, index, plan.branches, branch=index, context=context)
        group.context_bytes = size
        if not holds_true:
            _set_group(turn, group, TaskStatus.SKIPPED)
            for name in group.members:
                turn.set_status(turn.task(name), TaskStatus.SKIPPED)
    if not any(chosen):
        controls.succeed(turn, task)
        return
    controls.arm_timeout(turn, task, plan, document)
    start_groups(turn, task, [index for index, true in enumerate(chosen) if true])


def _branch_holds(turn: Turn, condition: str, document: JsonObject) -> bool:
    try:
        return holds(condition, {"input": document}, turn.budget)
    except LanguageError:
        return False


def new_group(  # noqa: PLR0913 - the parts of a group
    turn: Turn,
    task: TaskState,
    index: int,
    branches: Sequence[LevelPlan],
    *,
    branch: int = 0,
    context: JsonObject,
) -> GroupState:
    """Make a group that waits for its start, with its instances."""
    route = f"{task.name}_{index}"
    if not task.group_counts:
        task.group_counts = [0] * STATUS_COUNT
    group = GroupState(
        route=route,
        parent=task.name,
        index=index,
        branch=branch,
        status=TaskStatus.READY,
        context=context,
    )
    turn.state.groups[route] = group
    turn.steps_left -= 1
    task.routes.append(route)
    task.group_counts[TaskStatus.READY] += 1
    group.members = turn.instantiate(route, branches[branch])
    return group


def _set_group(turn: Turn, group: GroupState, status: TaskStatus) -> None:
    counts = turn.state.tasks[group.parent].group_counts
    counts[group.status] -= 1
    counts[status] += 1
    group.status = status


def start_groups(turn: Turn, task: TaskState, indexes: Iterable[int]) -> None:
    """Start groups; all are marked RUNNING first, in case one ends at once."""
    groups = [turn.state.groups[task.routes[index]] for index in indexes]
    for group in groups:
        _set_group(turn, group, TaskStatus.RUNNING)
        task.next_group = group.index + 1
    for group in groups:
        turn.open_scope(group.route)


def group_settled(turn: Turn, route: str, status: TaskStatus) -> None:
    """Apply the status of a group; when it has ended, start the next group or end the task."""
    group = turn.state.groups[route]
    if not COMPLETED[status] or COMPLETED[group.status]:
        return
    task = turn.state.tasks[group.parent]
    _set_group(turn, group, status)
    if status is TaskStatus.FAILED:
        _quote_failure(turn, task, group)
    if not _conclude(turn, task) and task.group_counts[TaskStatus.READY]:
        start_groups(turn, task, _ready_groups(turn, task, 1))


def _conclude(turn: Turn, task: TaskState) -> bool:
    """End a task if its groups have ended."""
    outcome = parent_status(task.group_counts)
    if COMPLETED[outcome]:
        _finish_parent(turn, task, outcome)
    return COMPLETED[outcome]


def _ready_groups(turn: Turn, task: TaskState, most: int) -> list[int]:
    """Return the indexes of the next groups to start."""
    groups, index = turn.state.groups, task.next_group
    found: list[int] = []
    while len(found) < most and index < len(task.routes):
        if groups[task.routes[index]].status is TaskStatus.READY:
            found.append(index)
        index += 1
    return found


def reopen_group(turn: Turn, group: GroupState) -> None:
    """Set a group that has ended back to waiting for its start."""
    if COMPLETED[group.status]:
        _set_group(turn, group, TaskStatus.READY)


def resume_groups(turn: Turn, task: TaskState) -> None:
    """Continue a task whose groups were reopened: start as many as may run, or end it."""
    if task.collection is not None:
        turn.make_groups(task)
        return
    if _conclude(turn, task):
        return
    groups = [turn.state.groups[route] for route in task.routes]
    task.next_group = min((g.index for g in groups if g.status is TaskStatus.READY), default=0)
    free = len(groups)
    if task.most_groups is not None:
        free = task.most_groups - task.group_counts[TaskStatus.RUNNING]
    start_groups(turn, task, _ready_groups(turn, task, free))


def _quote_failure(turn: Turn, task: TaskState, group: GroupState) -> None:
    failed = next(
        member for member in map(turn.task, group.members) if member.status is TaskStatus.FAILED
    )
    invoke, quoted = task.invoke, failed.invoke
    invoke.quote(quoted)
    invoke.invoke_id = quoted.invoke_id
    invoke.referenced_execution_id = quoted.referenced_execution_id


def _quote_first_failure(turn: Turn, task: TaskState) -> None:
    """Quote a group that failed before a redo of another group, if none has failed since."""
    invoke = task.invoke
    if invoke.msg is None and invoke.code is None and invoke.hint is None:
        groups = (turn.state.groups[route] for route in task.routes)
        _quote_failure(turn, task, next(group for group in groups if _has_failed(group)))


def _has_failed(group: GroupState) -> bool:
    return group.status is TaskStatus.FAILED


def parent_status(counts: Sequence[int], key_counts: Sequence[int] = NO_GROUPS) -> TaskStatus:
    """Compute the status of a task from the number of groups, and key groups, in each status.

    No field of the definition makes a group a key group; Rill Flow has them for extensions.
    """
    if counts[TaskStatus.SUCCEED] + counts[TaskStatus.SKIPPED] == sum(counts):
        return TaskStatus.SUCCEED
    if key_counts is not NO_GROUPS and _are_satisfied(key_counts):
        return TaskStatus.KEY_SUCCEED
    if counts[TaskStatus.RUNNING] + counts[TaskStatus.READY]:
        return TaskStatus.RUNNING
    if counts[TaskStatus.FAILED]:
        return TaskStatus.FAILED
    return TaskStatus.RUNNING


def _are_satisfied(key_counts: Sequence[int]) -> bool:
    satisfied = sum(key_counts[s] for s in TaskStatus if SATISFIED_IN_KEY_MODE[s])
    return 0 < satisfied == sum(key_counts)


def _finish_parent(turn: Turn, task: TaskState, status: TaskStatus) -> None:
    plan = turn.plan_of(task)
    try:
        output = group_output(turn.state, task, plan)
        if plan.spec.output_mappings:
            controls.map_output(turn, task, plan, output)
    except CRASHES:
        raise
    except TASK_ERRORS as error:
        controls.fail(turn, task, plan, str(error))
        return
    if status is TaskStatus.FAILED:
        _quote_first_failure(turn, task)
        controls.end_failed(turn, task, None, tolerated=plan.spec.tolerance)
    else:
        controls.succeed(turn, task)


def group_output(state: ExecutionState, task: TaskState, plan: TaskPlan) -> JsonObject:
    """Return what the output mappings of a task with groups read (spec 3.9)."""
    contexts = [state.groups[route].context for route in task.routes]
    if plan.category == "foreach":
        collected: list[JsonValue] = list(contexts)
        return {"sub_context": collected}
    merged: JsonObject = {}
    for route, context in zip(task.routes, contexts, strict=True):
        if state.groups[route].status is not TaskStatus.SKIPPED:
            merged.update(context)
    return merged


def drop_groups(turn: Turn, task: TaskState) -> None:
    """Drop the groups of a task and everything inside them, before the task runs again."""
    state = turn.state
    for route in task.routes:
        group = state.groups.pop(route)
        for name in group.members:
            member = state.tasks.pop(name)
            drop_outputs(state, member)
            state.attempts_dropped = max(state.attempts_dropped, member.attempt)
            drop_groups(turn, member)
    task.routes, task.group_counts, task.next_group = [], [], 0
    task.collection = None
