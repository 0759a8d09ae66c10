"""Readiness of tasks, skipping, and the status of a scope (spec 3.5 to 3.8).

Used by `core/redo/restart.py`, `core/redo/reopening.py` and `core/running.py`.
"""

from collections.abc import Iterable

from rillflow.core import ending
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
from rillflow.core.tasks import groups
from rillflow.core.turn import SKIP_MESSAGE, Turn


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
    streams = turn.level_of(route).streams
    if streams:
        waiting = turn.siblings(route, streams)
        fed = [task for task in waiting if is_stream_ready(turn, task)]
        for task in fed:
            turn.make_ready(task)
        ready += fed
    if not ready:
        turn.unsettled[route] = None


def is_ready(turn: Turn, task: TaskState) -> bool:
    """Tell whether a block-input instance may start (spec 3.6)."""
    if task.status is not NOT_STARTED:
        return False
    plan = turn.plan.by_name[task.base]
    if plan.stream_input and plan.dependencies:
        return False
    if task.waiting == 0:
        return True
    return plan.spec.key_callback and all(
        SATISFIED_IN_KEY_MODE[other.status] for other in turn.dependencies(task)
    )


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
        wished = (
            task.name in other.skips
            or (other.status is SKIPPED and other.invoke.msg == SKIP_MESSAGE)
            or degrades_followings(turn, other)
        )
        if not wished:
            return False
    return wished


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
    frontier = [head]
    while frontier:
        for successor in turn.successors(frontier.pop()):
            if successor.name in inside or successor.status is not NOT_STARTED:
                continue
            if all(other.name in inside for other in turn.dependencies(successor)):
                inside.add(successor.name)
                skip(turn, successor)
                frontier.append(successor)


def skip(turn: Turn, task: TaskState) -> None:
    """Set an instance to SKIPPED with the message that passes the skip on."""
    task.invoke.msg = SKIP_MESSAGE
    turn.set_status(task, SKIPPED)
    turn.move_on(task)
