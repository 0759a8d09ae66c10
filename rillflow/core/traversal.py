"""The traversal of a scope: what is ready, skipping, starting tasks, its status (spec 3.5 to 3.8).

Used by `core/machine.py`, and by `core/redo`, which opens scopes again.
"""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Final, TypeAlias

from rillflow.core import ending
from rillflow.core.agenda import FOLLOW, MAKE, OPEN, REMAINING, RUN, RemainingSteps, Step
from rillflow.core.commands import SetTimer
from rillflow.core.plan import TaskPlan
from rillflow.core.state import TaskState
from rillflow.core.status import (
    FAILED,
    KEY_SUCCEED,
    NOT_STARTED,
    READY,
    RUNNING,
    SATISFIED,
    SATISFIED_IN_KEY_MODE,
    SKIPPED,
    STARTED,
    STASHED,
    SUCCEED,
    DagStatus,
    TaskStatus,
)
from rillflow.core.tasks import controls, function_tasks, groups, iterations
from rillflow.core.turn import CRASHES, SKIP_MESSAGE, TASK_ERRORS, Turn, value_of
from rillflow.definition.model import Progress, Timeline
from rillflow.errors import LanguageError
from rillflow.jsontypes import JsonObject
from rillflow.language.text.literals import whole_number
from rillflow.language.versions import EVENTS_CUT_BY_WORK

_COUNTED_STEPS: Final = 32
"""So many steps of an agenda take a millisecond, and what they are charged says little of that."""
_Outside: TypeAlias = dict[str, tuple[TaskState, Iterator[TaskState]]]
"""By instance, a dependency that was not skipped when it was looked at, and those after it."""


def start_scope(turn: Turn, route: str) -> None:
    """Queue what is ready in a scope that starts, or that continues after it was reopened.

    An empty scope ends at once.
    """
    level = turn.level_of(route)
    if turn.counts(route)[NOT_STARTED] < len(level.tasks):
        resume_scope(turn, route)
    else:
        _advance(turn, route, turn.siblings(route, level.roots))


def resume_scope(turn: Turn, route: str) -> None:
    """Queue what is ready in a scope whose instances were reset."""
    _advance(turn, route, turn.siblings(route, tuple(turn.level_of(route).tasks)))


def follow(turn: Turn, task: TaskState) -> None:
    """Queue what became ready because an instance changed its status, else settle its scope."""
    if not turn.over and not (task.route and is_abandoned(turn, task.route)):
        _advance(turn, task.route, turn.successors(task))


def is_abandoned(turn: Turn, route: str) -> bool:
    """Tell whether a foreach or choice around a scope has timed out."""
    while route:
        parent = turn.task(turn.state.groups[route].parent)
        if parent.abandoned:
            return True
        route = parent.route
    return False


def _advance(turn: Turn, route: str, candidates: Iterable[TaskState]) -> None:
    ready = [task for task in candidates if is_ready(turn, task)]
    for task in ready:
        turn.make_ready(task)
    if turn.plan.has_streams and (streams := turn.level_of(route).streams):
        waiting = turn.siblings(route, _touched(turn, route, streams))
        fed = [task for task in waiting if is_stream_ready(turn, task)]
        for task in fed:
            turn.make_ready(task)
        ready += fed
    if not ready:
        turn.unsettled[route] = None


def _touched(turn: Turn, route: str, streams: Mapping[str, int]) -> Sequence[str]:
    """Return the stream instances that may have become ready since the last look, in their order.

    The first look of a turn is at all of them.
    """
    moved = turn.moved.get(route)
    turn.moved[route] = set()
    if moved is None:
        return tuple(streams)
    followers = (name for base in moved for name in turn.plan.by_name[base].successors)
    return sorted({*moved, *followers} & streams.keys(), key=streams.__getitem__)


def is_ready(turn: Turn, task: TaskState) -> bool:
    """Tell whether a block-input instance may start (spec 3.6)."""
    if task.status is not NOT_STARTED:
        return False
    plan = turn.plan.by_name[task.base]
    if plan.stream_input and plan.dependencies:
        return False
    if task.waiting == 0:
        return True
    return bool(plan.spec.key_callback) and _is_met_in_key_mode(turn, task, plan.dependencies)


def _is_met_in_key_mode(turn: Turn, task: TaskState, bases: Sequence[str]) -> bool:
    """Tell whether all dependencies are satisfied; look first where one was not the last time."""
    first = turn.unmet.get(task.name, 0)
    for place in chain(range(first, len(bases)), range(first)):
        [other] = turn.siblings(task.route, (bases[place],))
        if not SATISFIED_IN_KEY_MODE[other.status]:
            turn.unmet[task.name] = place
            return False
    return True


def is_stream_ready(turn: Turn, task: TaskState) -> bool:
    """Tell whether a stream-input instance may start: one dependency is enough.

    All stream instances of a scope are checked before any of them is queued, so of two chained ones
    only the first starts in one pass (spec 3.6).
    """
    if task.status is not NOT_STARTED:
        return False
    plan = turn.plan_of(task)
    return any(_feeds(turn.plan_of(other), plan, other) for other in turn.dependencies(task))


def _feeds(source: TaskPlan, target: TaskPlan, task: TaskState) -> bool:
    if source.stream_output:
        return STARTED[task.status]
    table = SATISFIED_IN_KEY_MODE if target.spec.key_callback else SATISFIED
    return table[task.status]


def scope_status(counts: list[int]) -> DagStatus | None:
    """Return the status of the top level when nothing is ready; None leaves it (spec 3.7)."""
    key_mode = counts[KEY_SUCCEED] + counts[STASHED] > 0
    active = counts[READY] + counts[RUNNING] > 0
    failed = counts[FAILED] > 0
    if key_mode and not active and not failed:
        return DagStatus.KEY_SUCCEED
    if active:
        return DagStatus.RUNNING
    if failed:
        return DagStatus.FAILED
    rest = counts[NOT_STARTED] + counts[KEY_SUCCEED]
    if rest + counts[STASHED] == 0:
        return DagStatus.SUCCEED
    return None


def group_status(counts: list[int]) -> TaskStatus:
    """Return the status of a group when nothing is ready (spec 3.5)."""
    unsatisfied = sum(counts) - counts[SUCCEED] - counts[SKIPPED]
    if unsatisfied == 0:
        return SUCCEED
    if counts[FAILED]:
        return FAILED
    if counts[READY] + counts[RUNNING]:
        return RUNNING
    return NOT_STARTED


def fails_early(turn: Turn, route: str) -> bool:
    """Tell whether a group fails while some of its instances are under way (spec Q32)."""
    if not route:
        return False
    counts = turn.counts(route)
    return counts[FAILED] > 0 and counts[RUNNING] > 0


def settle(turn: Turn, route: str) -> None:
    """End a scope in which nothing is ready, if the statuses of its instances allow it."""
    if route:
        groups.group_settled(turn, route, group_status(turn.counts(route)))
        return
    status = scope_status(turn.state.counts)
    if status in (DagStatus.SUCCEED, DagStatus.FAILED, DagStatus.KEY_SUCCEED):
        ending.finish_execution(turn, status)


def skipped_by_dependencies(turn: Turn, task: TaskState) -> bool:
    """Tell whether every dependency wants this instance skipped (spec 3.8.1)."""
    wished = False
    for other in turn.dependencies(task):
        is_choosing = other.skipped or other.skips
        wished = (
            (bool(is_choosing) and _is_skipped_by(turn, task, other))
            or (other.status is SKIPPED and other.invoke.msg == SKIP_MESSAGE)
            or degrades_followings(turn, other)
        )
        if not wished:
            return False
    return wished


def _is_skipped_by(turn: Turn, task: TaskState, other: TaskState) -> bool:
    return other.is_skipping(turn.plan.by_name[other.base].places[task.base], task.name)


def degrades_followings(turn: Turn, task: TaskState) -> bool:
    """Tell whether an instance's degrade switch skips what follows it."""
    degrades = turn.state.degrades
    switch = degrades.get(task.base) if degrades else None
    return switch.followings if switch else turn.plan.by_name[task.base].degrade_followings


def skip_chain(turn: Turn, head: TaskState) -> None:
    """Skip the successors that depend on ``head`` and on skipped ones only.

    ``head`` itself keeps its status.
    """
    inside = {head.name}
    outside: _Outside = {}
    frontier = [head]
    while frontier:
        for successor in turn.successors(frontier.pop()):
            if successor.name in inside or successor.status is not NOT_STARTED:
                continue
            if _are_inside(turn, successor, inside, outside):
                inside.add(successor.name)
                skip(turn, successor)
                frontier.append(successor)


def _are_inside(turn: Turn, task: TaskState, inside: Container[str], outside: _Outside) -> bool:
    """Tell whether all dependencies are inside; each is passed once, since none leaves again."""
    first, rest = outside.get(task.name) or (None, turn.dependencies(task))
    for other in chain(() if first is None else (first,), rest):
        if other.name not in inside:
            outside[task.name] = other, rest
            return False
    return True


def skip(turn: Turn, task: TaskState) -> None:
    """Set an instance to SKIPPED with the message that passes the skip on."""
    task.invoke.msg = SKIP_MESSAGE
    turn.set_status(task, SKIPPED)
    turn.move_on(task)


_WORK = {
    "function": function_tasks.run_function,
    "pass": controls.run_pass,
    "return": controls.run_return,
    "switch": controls.run_switch,
    "suspense": controls.run_suspense,
    "choice": groups.run_choice,
    "foreach": iterations.run_foreach,
}


def drain(turn: Turn) -> None:
    """Take the steps on the agenda, and the steps that they lead to, until none is left.

    After the limit of steps or of work for one event, the remaining ones go to a later event. An
    event that ends the execution takes all of them, since they do very little then.
    """
    agenda, unsettled, failing = turn.agenda, turn.unsettled, turn.failing
    budget, enough = turn.budget, turn.enough
    taken = 0
    while agenda or unsettled or failing:
        if (taken >= turn.steps_left or budget.steps < enough) and not turn.over:
            _leave_remaining(turn)
            return
        taken += 1
        if not taken % _COUNTED_STEPS and budget.on_portion is not None:
            budget.on_portion(budget)
        if agenda:
            _take_step(turn, *agenda.popleft())
        elif unsettled:
            route = next(iter(unsettled))
            del unsettled[route]
            if fails_early(turn, route):
                failing.append(route)
            else:
                settle(turn, route)
        else:
            settle(turn, failing.pop())


def _leave_remaining(turn: Turn) -> None:
    due_ms, budget = turn.at_ms, turn.budget
    remaining = RemainingSteps(due_ms, list(turn.agenda), list(turn.unsettled), turn.failing)
    if turn.state.language >= EVENTS_CUT_BY_WORK:
        remaining.memory_bytes, remaining.has_reserve = budget.memory_bytes, budget.has_reserve
    turn.state.remaining = remaining
    turn.commands.append(SetTimer(kind=REMAINING, task="", due_ms=due_ms))


def take_up(turn: Turn, remaining: RemainingSteps) -> None:
    """Continue with the steps that an earlier event left, before those of this event.

    Steps of groups that this event has dropped or abandoned are omitted, and so are steps that this
    event takes itself. No steps remain for an execution that has ended: a redo checks all its
    scopes.
    """
    turn.state.remaining = None
    if turn.over:
        return
    if remaining.memory_bytes is not None:
        turn.budget.go_on(remaining.memory_bytes, has_reserve=remaining.has_reserve)
    tasks, groups_of = turn.state.tasks, turn.state.groups
    named = {*remaining.unsettled, *remaining.failing}
    named.update(name for step, name in remaining.steps if step is OPEN)
    open_routes = {
        route
        for route in named
        if not route or (route in groups_of and not is_abandoned(turn, route))
    }
    making = {name for step, name in remaining.steps if step is MAKE and _makes_groups(turn, name)}
    is_there = {RUN: tasks, FOLLOW: tasks, OPEN: open_routes, MAKE: making}
    doubled = {each for each in turn.agenda if each[0] is RUN}
    steps = [
        each for each in remaining.steps if each[1] in is_there[each[0]] and each not in doubled
    ]
    turn.agenda.extendleft(reversed(steps))
    for route in filter(open_routes.__contains__, remaining.unsettled):
        turn.unsettled.setdefault(route)
    turn.failing[:0] = filter(open_routes.__contains__, remaining.failing)


def _makes_groups(turn: Turn, name: str) -> bool:
    task = turn.state.tasks.get(name)
    return task is not None and task.collection is not None


def _take_step(turn: Turn, step: Step, name: str) -> None:
    tasks = turn.state.tasks
    if step is OPEN:
        start_scope(turn, name)
    elif step is FOLLOW:
        follow(turn, tasks[name])
    elif step is RUN:
        if tasks[name].status is READY and not turn.over:
            _run_or_park(turn, tasks[name])
    elif not turn.over and not is_abandoned(turn, tasks[name].route):
        iterations.make_further_groups(turn, tasks[name])


def _run_or_park(turn: Turn, task: TaskState) -> None:
    if task.route and is_abandoned(turn, task.route):
        return
    if turn.state.paused:
        turn.state.parked.append(task.name)
    else:
        run_task(turn, task)


def run_task(turn: Turn, task: TaskState) -> None:
    """Run a READY instance until it ends or waits for something from outside."""
    if skipped_by_dependencies(turn, task):
        _skip_with_chain(turn, task)
        return
    plan = turn.plan_of(task)
    _open_time(turn, task)
    spec = plan.spec
    try:
        document = map_input(turn, task, plan)
        if spec.timeline is not None and _delayed(turn, task, spec.timeline, document):
            return
        if _degraded(turn, task, plan):
            return
        if spec.progress is not None:
            _record_progress(turn, task, spec.progress, document)
        _WORK[plan.category](turn, task, plan, document)
    except CRASHES:
        raise
    except TASK_ERRORS as error:
        controls.fail(turn, task, plan, str(error))


def _skip_with_chain(turn: Turn, task: TaskState) -> None:
    task.invoke.msg = SKIP_MESSAGE
    turn.finish_task(task, SKIPPED)
    skip_chain(turn, task)


def _open_time(turn: Turn, task: TaskState) -> None:
    infos = task.invoke.time_infos
    if not infos or infos[-1].end_ms is not None:
        task.invoke.begin_time(turn.at_ms)
    elif infos[-1].start_ms > turn.at_ms:
        # The clock was ahead. A task that has waited must not wait until the old due time comes
        # again.
        infos[-1].start_ms = turn.at_ms


def map_input(turn: Turn, task: TaskState, plan: TaskPlan) -> JsonObject:
    """Build and record the input of an attempt.

    Raises:
        LanguageError: A rule with ``tolerance: false`` failed.
    """
    caught = _caught_error(turn, task, plan) if plan.catches else None
    _, document = turn.apply(task, plan.inputs, {}, caught)
    task.invoke.input = document
    cost = document.get("expected_cost")
    if isinstance(cost, int) and not isinstance(cost, bool):
        task.invoke.time_infos[-1].expected_cost = cost
    return document


def _caught_error(turn: Turn, task: TaskState, plan: TaskPlan) -> JsonObject | None:
    """Return ``{"error": {...}}`` of the failure for which an instance was started."""
    for failed in turn.siblings(task.route, plan.catches):
        if failed.caught:
            invoke = failed.invoke
            facts = {"task": failed.name, "code": invoke.code, "msg": invoke.msg}
            return {"error": {key: fact for key, fact in facts.items() if fact is not None}}
    return None


def _delayed(turn: Turn, task: TaskState, timeline: Timeline, document: JsonObject) -> bool:
    if timeline.suspense_timestamp_ms is not None:
        due_ms = _number(turn, timeline.suspense_timestamp_ms, document)
    else:
        interval_s = _number(turn, timeline.suspense_interval_s, document)
        start_ms = task.invoke.time_infos[-1].start_ms
        due_ms = None if interval_s is None else start_ms + interval_s * 1000
    if due_ms is None or (due_ms - turn.at_ms) // 1000 <= 0:
        return False
    turn.set_timer("delay", task, due_ms)
    return True


def _number(turn: Turn, text: str | None, document: JsonObject) -> int | None:
    try:
        return whole_number(value_of(text, {"input": document}, turn.budget))
    except LanguageError:
        return None


def _degraded(turn: Turn, task: TaskState, plan: TaskPlan) -> bool:
    degrades = turn.state.degrades
    switch = degrades.get(task.base) if degrades else None
    if switch.followings if switch else plan.degrade_followings:
        skip_chain(turn, task)
    if not (switch.current if switch else plan.degrade_current):
        return False
    turn.finish_task(task, SKIPPED)
    return True


def _record_progress(turn: Turn, task: TaskState, progress: Progress, document: JsonObject) -> None:
    if not progress.args:
        return
    args: JsonObject = {}
    for rule in progress.args:
        try:
            value = value_of(rule.source, {"input": document}, turn.budget)
        except LanguageError:
            continue
        if rule.variable and value is not None:
            turn.measure(value)
            args[rule.variable] = value
    task.invoke.progress_args = args
