"""Tasks with groups: foreach and choice, and the end of a group (spec 3.9, 3.11).

Used by `core`, `core/redo` and `core/inspection`.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from rillflow.core.encoding.stored_context import stored_context
from rillflow.core.mapping_warnings import Application, strict_error
from rillflow.core.plan import LevelPlan, TaskPlan
from rillflow.core.state import STATUS_COUNT, ExecutionState, GroupState, TaskState
from rillflow.core.status import COMPLETED, SATISFIED_IN_KEY_MODE, TaskStatus
from rillflow.core.tasks import controls, function_tasks
from rillflow.core.tasks.kept_outputs import drop_outputs
from rillflow.core.turn import CRASHES, TASK_ERRORS, Turn, as_object, value_of
from rillflow.definition.model import ForeachTask, IterationMapping, Synchronization
from rillflow.errors import ExecutionError, LanguageError
from rillflow.jsontypes import JsonObject, JsonValue
from rillflow.language.budget import TotalBudget
from rillflow.language.jsonpath.paths import compile_path, reads_as_null
from rillflow.language.jsonpath.syntax import Indexes, Names
from rillflow.language.mapping.conditions import all_hold, holds
from rillflow.language.mapping.ineffective_rules import (
    IneffectiveRule,
    Kind,
    NoValue,
    loggable_error,
    why_no_value,
)
from rillflow.language.text.literals import whole_number
from rillflow.language.versions import AVIATOR_AND_JAYWAY_MEASURED, EVENTS_CUT_BY_WORK

EMPTY_LOOP = "loop collection or subTasks empty"
LIMIT_REACHED: Final = 30507
STEPS_EACH: Final = 10
"""Steps that a turn is charged for a group or an instance that it makes."""
BYTES_EACH: Final = 1024
"""Bytes of memory that a turn is charged for a group or an instance that it makes."""
NO_GROUPS: Final = (0,) * STATUS_COUNT
EMPTY_CHOICE = "choices collection empty"


def run_foreach(turn: Turn, task: TaskState, plan: TaskPlan, document: JsonObject) -> None:
    """Start one group for each element of the collection, as many at once as allowed."""
    spec = plan.spec_as(ForeachTask)
    mapping = spec.iteration_mapping or IterationMapping()
    collection = _collection(turn, task, mapping, document)
    if collection in (None, []) or not plan.branches[0].tasks:
        controls.succeed(turn, task, EMPTY_LOOP)
        return
    most = turn.state.foreach_max_items
    if isinstance(collection, list) and len(collection) > most:
        raise ExecutionError(
            f"iteration collection has {len(collection)} items, at most {most} are taken"
        )
    if not isinstance(collection, list):
        raise ExecutionError(f"iteration collection {mapping.collection} is not a list")
    _charge(turn, task, len(collection), plan.branches)
    limit = concurrency_limit(spec.synchronization, document, turn.budget)
    rest = without(document, mapping.collection or "")
    task.invoke.input = rest
    contexts = _item_contexts(turn, mapping, rest, collection)
    turn.set_status(task, TaskStatus.RUNNING)
    for index, (context, size) in enumerate(contexts):
        group = _new_group(turn, task, index, plan.branches, context=context)
        group.context_bytes = size
        group.identity = _identity(turn, mapping, collection[index])
    controls.arm_timeout(turn, task, plan, document)
    task.most_groups = limit
    count = len(contexts) if limit is None else min(limit, len(contexts))
    _start_groups(turn, task, range(count))


def _charge(turn: Turn, task: TaskState, groups: int, levels: Sequence[LevelPlan]) -> None:
    """Charge groups and their instances before they are made.

    Executions whose submission names no limit, such as those of older releases, are not charged.

    Raises:
        ExecutionError: The execution would exceed its limit of groups or instances (30507).
        WorkLimitError: The turn has exceeded its budget.
    """
    if turn.state.execution_max_tasks is None:
        return
    tasks = sum(len(level.tasks) for level in levels) * (groups // len(levels))
    try:
        refuse_too_many(turn.state, groups=groups, tasks=tasks)
    except ExecutionError as error:
        task.invoke.code = str(error.wire_code)
        raise
    turn.budget.spend((groups + tasks) * STEPS_EACH)
    turn.budget.make((groups + tasks) * BYTES_EACH)


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


def _collection(
    turn: Turn, task: TaskState, mapping: IterationMapping, document: JsonObject
) -> JsonValue:
    """Read the collection; a path that cannot be read gives null, as in a mapping (spec 2.7).

    Raises:
        LanguageError: A function of the path, or a limit of Rillflow, fails; there is no
            path; or the execution is strict.
    """
    try:
        path = compile_path(mapping.collection or "", turn.budget)
        found = path.find({"input": document}, turn.budget)
    except LanguageError as error:
        is_null = bool(mapping.collection) and reads_as_null(error) and not turn.is_strict
        if turn.state.language < AVIATOR_AND_JAYWAY_MEASURED or not is_null:
            raise
        rule = f"{mapping.collection} -> {mapping.item}"
        told = IneffectiveRule(1, rule, Kind.BAD_PATH, str(error), loggable_error(error))
        turn.mapped.append(Application(task.name, task.base, "iterationMapping", (told,)))
        return None
    if found is None:
        _note_missing(turn, task, mapping, why_no_value(path, {"input": document}))
    return found


def _note_missing(
    turn: Turn, task: TaskState, mapping: IterationMapping, no_value: NoValue
) -> None:
    """Warn of a missing collection, unless a rule that should have written it is reported.

    Raises:
        MappingError: The execution is strict.
    """
    rules = turn.plan_of(task).spec_as(ForeachTask).input_mappings or ()
    written = {(rule.target or "").strip() for rule in rules}
    is_told = (mapping.collection or "").strip() in written or any(rule.reference for rule in rules)
    if is_told or no_value.kind is not Kind.MISSING:
        return
    where = f"{mapping.collection} -> {mapping.item}"
    told = IneffectiveRule(
        1, where, Kind.MISSING, no_value.reason, missing_key=no_value.missing_key
    )
    if turn.is_strict:
        raise strict_error("iterationMapping", told, suggesting=True)
    turn.mapped.append(Application(task.name, task.base, "iterationMapping", (told,)))


def without(document: JsonObject, path: str) -> JsonObject:
    """Return an input without the value at a path under ``$.input``.

    A path that may lead to several values removes nothing.
    """
    keys: list[str | int] = []
    for token in compile_path(path).syntax.tokens:
        if isinstance(token, Names) and len(token.names) == 1:
            keys.append(token.names[0])
        elif isinstance(token, Indexes) and len(token.indexes) == 1:
            keys.append(token.indexes[0])
        else:
            return document
    rest = _without({"input": document}, keys)
    return as_object(as_object(rest)["input"]) if len(keys) > 1 else document


def _without(value: JsonValue, keys: Sequence[str | int]) -> JsonValue:
    key, below = keys[0], keys[1:]
    if isinstance(key, int):
        elements = list(value) if isinstance(value, list) else []
        elements[key : key + 1 or None] = [_without(elements[key], below)] if below else []
        return elements
    copied = dict(as_object(value))
    if below:
        copied[key] = _without(copied[key], below)
    else:
        del copied[key]
    return copied


def _item_contexts(
    turn: Turn, mapping: IterationMapping, rest: JsonObject, collection: list[JsonValue]
) -> list[tuple[JsonObject, int]]:
    """Return the contexts of all groups, with estimates of their sizes in bytes.

    What they share is walked once, and charged to each.

    Executions of older releases are charged by walking it for each.

    Raises:
        ExecutionError: An item is null or has no name; or a context is too large or deep (30507).
        WorkLimitError: The turn has exceeded its budget.
    """
    budget, max_bytes = turn.budget, turn.state.context_max_bytes
    spent, made = budget.spent_steps, budget.made_bytes
    shared: JsonObject = {}
    if turn.state.language >= EVENTS_CUT_BY_WORK:
        shared = rest = stored_context(rest, {}, max_bytes, budget)
    steps_each, bytes_each = budget.spent_steps - spent, budget.made_bytes - made
    contexts = []
    for index, item in enumerate(collection):
        context = _item_context(mapping, rest, index, item)
        left = budget.memory_bytes
        if steps_each or bytes_each:
            budget.spend(steps_each)
            budget.make(bytes_each)
        kept = stored_context(context, shared, max_bytes, budget)
        contexts.append((kept, left - budget.memory_bytes))
    return contexts


def _item_context(
    mapping: IterationMapping, rest: JsonObject, index: int, element: JsonValue
) -> JsonObject:
    if element is None:
        raise ExecutionError(f"iteration item {index} is null")
    if not mapping.item:
        raise ExecutionError("iterationMapping item is null")
    context: JsonObject = {**rest, mapping.item: element}
    if mapping.index:
        context[mapping.index] = index
    return context


def _identity(turn: Turn, mapping: IterationMapping, element: JsonValue) -> JsonValue:
    if not mapping.identity:
        return None
    try:
        value = value_of(mapping.identity, {"iteration": {"element": element}}, turn.budget)
    except LanguageError:
        return None
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    turn.measure(value)
    return function_tasks.as_text(value)


def concurrency_limit(
    synchronization: Synchronization | None, document: JsonObject, budget: TotalBudget
) -> int | None:
    """Return how many groups may run at once; None is no limit."""
    if synchronization is None or not synchronization.conditions:
        return None
    try:
        if not all_hold(synchronization.conditions, {"input": document}, budget):
            return None
        wanted = value_of(synchronization.max_concurrency, {"input": document}, budget)
        limit = whole_number(wanted)
    except LanguageError:
        return None
    return limit if limit is not None and limit > 0 else None


def run_choice(turn: Turn, task: TaskState, plan: TaskPlan, document: JsonObject) -> None:
    """Start the group of every branch whose condition is true, all at once."""
    if not plan.branches:
        controls.succeed(turn, task, EMPTY_CHOICE)
        return
    conditions = [condition for condition in plan.conditions if condition is not None]
    if len(conditions) < len(plan.conditions):
        raise ExecutionError("choice condition is null")
    _charge(turn, task, len(plan.branches), plan.branches)
    chosen = [_branch_holds(turn, condition, document) for condition in conditions]
    made = turn.budget.made_bytes
    inside = stored_context(document, {}, turn.state.context_max_bytes, turn.budget)
    made = turn.budget.made_bytes - made
    turn.set_status(task, TaskStatus.RUNNING)
    for index, holds_true in enumerate(chosen):
        context, size = (inside, made) if holds_true else ({}, 0)
        group = _new_group(turn, task, index, plan.branches, branch=index, context=context)
        group.context_bytes = size
        if not holds_true:
            _set_group(turn, group, TaskStatus.SKIPPED)
            for name in group.members:
                turn.set_status(turn.task(name), TaskStatus.SKIPPED)
    if not any(chosen):
        controls.succeed(turn, task)
        return
    controls.arm_timeout(turn, task, plan, document)
    _start_groups(turn, task, [index for index, true in enumerate(chosen) if true])


def _branch_holds(turn: Turn, condition: str, document: JsonObject) -> bool:
    try:
        return holds(condition, {"input": document}, turn.budget)
    except LanguageError:
        return False


def _new_group(  # noqa: PLR0913 - the parts of a group
    turn: Turn,
    task: TaskState,
    index: int,
    branches: Sequence[LevelPlan],
    *,
    branch: int = 0,
    context: JsonObject,
) -> GroupState:
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


def _start_groups(turn: Turn, task: TaskState, indexes: Iterable[int]) -> None:
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
        _start_groups(turn, task, _ready_groups(turn, task, 1))


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
    if _conclude(turn, task):
        return
    groups = [turn.state.groups[route] for route in task.routes]
    task.next_group = min((g.index for g in groups if g.status is TaskStatus.READY), default=0)
    free = len(groups)
    if task.most_groups is not None:
        free = task.most_groups - task.group_counts[TaskStatus.RUNNING]
    _start_groups(turn, task, _ready_groups(turn, task, free))


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
