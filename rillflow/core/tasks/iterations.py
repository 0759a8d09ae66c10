"""The foreach: its collection, and a group for each element (spec 3.9, 3.11).

The groups of a long collection are made in several events, and none starts before all are there.

Used by `core/traversal.py` and `core/inspection`.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from rillflow.core.encoding.stored_context import stored_context
from rillflow.core.mapping_warnings import Application, strict_error
from rillflow.core.plan import TaskPlan
from rillflow.core.state import TaskState
from rillflow.core.status import TaskStatus
from rillflow.core.tasks import controls, function_tasks, groups
from rillflow.core.turn import CRASHES, TASK_ERRORS, Turn, as_object, value_of
from rillflow.definition.model import ForeachTask, IterationMapping, Synchronization
from rillflow.errors import ExecutionError, LanguageError
from rillflow.jsontypes import JsonObject, JsonValue
from rillflow.language.budget import TotalBudget
from rillflow.language.jsonpath.paths import compile_path, reads_as_null
from rillflow.language.jsonpath.syntax import Indexes, Names
from rillflow.language.mapping.conditions import all_hold
from rillflow.language.mapping.ineffective_rules import (
    IneffectiveRule,
    Kind,
    NoValue,
    loggable_error,
    why_no_value,
)
from rillflow.language.text.literals import whole_number
from rillflow.language.versions import AVIATOR_AND_JAYWAY_MEASURED, EVENTS_CUT_BY_WORK

_MADE_TOGETHER: Final = 64
"""Making so many groups takes some milliseconds."""
EMPTY_LOOP = "loop collection or subTasks empty"


def run_foreach(turn: Turn, task: TaskState, plan: TaskPlan, document: JsonObject) -> None:
    """Start one group for each element of the collection, as many at once as allowed."""
    spec = plan.spec_as(ForeachTask)
    mapping = spec.iteration_mapping or IterationMapping()
    collection = _collection(turn, task, mapping, document)
    if collection in (None, []) or not plan.branches[0].tasks:
        controls.succeed(turn, task, EMPTY_LOOP)
        return
    if not isinstance(collection, list):
        raise ExecutionError(f"iteration collection {mapping.collection} is not a list")
    _charge(turn, task, plan, len(collection))
    limit = concurrency_limit(spec.synchronization, document, turn.budget)
    task.invoke.input = without(document, mapping.collection or "")
    contexts = _contexts(turn, task, mapping, collection)
    if turn.state.foreach_in_portions:
        task.collection = collection
    else:
        contexts = iter(list(contexts))
    turn.set_status(task, TaskStatus.RUNNING)
    try:
        _make(turn, task, mapping, collection, contexts)
    except TASK_ERRORS:
        groups.drop_groups(turn, task)
        raise
    controls.arm_timeout(turn, task, plan, document)
    task.most_groups = limit
    _start_or_go_on(turn, task)


def _charge(turn: Turn, task: TaskState, plan: TaskPlan, count: int) -> None:
    """Refuse a collection that is too long, and charge its groups in memory.

    Their steps are charged to the event that makes them, where the groups are made in several.

    Raises:
        ExecutionError: There are more items or instances than there may be (30507).
        WorkLimitError: The turn has exceeded its budget.
    """
    state = turn.state
    most = state.foreach_max_items
    if count > most:
        raise ExecutionError(f"iteration collection has {count} items, at most {most} are taken")
    groups.charge(turn, task, count, plan.branches, in_steps=not state.foreach_in_portions)


def make_further_groups(turn: Turn, task: TaskState) -> None:
    """Make groups of a foreach that are left, if it still waits for them."""
    collection = task.collection
    if collection is None or task.abandoned:
        return
    plan = turn.plan_of(task)
    mapping = plan.spec_as(ForeachTask).iteration_mapping or IterationMapping()
    try:
        groups.check_room(turn, task, len(collection) - len(task.routes), plan.branches)
        _make(turn, task, mapping, collection, _contexts(turn, task, mapping, collection))
    except CRASHES:
        raise
    except TASK_ERRORS as error:
        groups.drop_groups(turn, task)
        controls.fail(turn, task, plan, str(error))
        return
    _start_or_go_on(turn, task)


def _start_or_go_on(turn: Turn, task: TaskState) -> None:
    if task.collection is None:
        count, limit = len(task.routes), task.most_groups
        groups.start_groups(turn, task, range(count if limit is None else min(limit, count)))
    else:
        turn.make_groups(task)


def _make(
    turn: Turn,
    task: TaskState,
    mapping: IterationMapping,
    collection: list[JsonValue],
    contexts: Iterator[tuple[JsonObject, int]],
) -> None:
    """Make groups with these contexts, until the turn has done enough or all are made.

    Raises:
        ExecutionError: An item is null or has no name; or a context is too large or deep (30507).
        WorkLimitError: The turn has exceeded its budget.
    """
    is_cut, branches = turn.state.foreach_in_portions, turn.plan_of(task).branches
    steps = groups.STEPS_EACH * (1 + len(branches[0].tasks))
    for index, (context, size) in enumerate(contexts, len(task.routes)):
        if is_cut:
            turn.budget.spend(steps)
        if not index % _MADE_TOGETHER and turn.budget.on_portion is not None:
            turn.budget.on_portion(turn.budget)
        group = groups.new_group(turn, task, index, branches, context=context)
        group.context_bytes = size
        group.identity = _identity(turn, mapping, collection[index])
        if is_cut and turn.is_full:
            break
    if len(task.routes) == len(collection):
        task.collection = None


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


def _contexts(
    turn: Turn, task: TaskState, mapping: IterationMapping, collection: list[JsonValue]
) -> Iterator[tuple[JsonObject, int]]:
    """Yield the contexts of the groups that are not made, with estimates of their sizes in bytes.

    What they share is walked once, and charged to each. Executions of older releases are charged by
    walking it for each.

    Raises:
        ExecutionError: An item is null or has no name; or a context is too large or deep (30507).
        WorkLimitError: The turn has exceeded its budget.
    """
    budget, max_bytes = turn.budget, turn.state.context_max_bytes
    spent, made = budget.spent_steps, budget.made_bytes
    rest, shared = as_object(task.invoke.input), {}
    if turn.state.language >= EVENTS_CUT_BY_WORK:
        shared = rest = stored_context(rest, {}, max_bytes, budget)
    steps_each, bytes_each = budget.spent_steps - spent, budget.made_bytes - made
    for index in range(len(task.routes), len(collection)):
        if not index % _MADE_TOGETHER and budget.on_portion is not None:
            budget.on_portion(budget)
        context = _item_context(mapping, rest, index, collection[index])
        left = budget.memory_bytes
        if steps_each or bytes_each:
            budget.spend(steps_each)
            budget.make(bytes_each)
        kept = stored_context(context, shared, max_bytes, budget)
        yield kept, left - budget.memory_bytes


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
