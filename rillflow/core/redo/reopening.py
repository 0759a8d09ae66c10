"""Redo with scope ``failed``: reopens groups and tasks around what failed, and keeps successes.

Used by `core/machine.py`, `core/redo/requested.py` and `core/requests.py`.
"""

from rillflow.core import ending, mapping_warnings, traversal
from rillflow.core.events import CallbackReceived, NoticeDelivered, SubFlowNotice
from rillflow.core.redo import restart
from rillflow.core.redo.failed_parts import Parts, groups_around, has_ended_well, is_sub_flow
from rillflow.core.state import GroupState, TaskState
from rillflow.core.status import COMPLETED, TaskStatus
from rillflow.core.tasks import controls, groups
from rillflow.core.turn import Turn


def reopen(turn: Turn, parts: Parts, *, ordered: bool = False, is_told: bool = False) -> None:
    """Restart parts of an execution.

    Args:
        turn: The turn.
        parts: What to restart.
        ordered: Whether the parent of the execution requested it, and so is not notified.
        is_told: Whether the sub-flows reported that they were restarted, and need no request.
    """
    revived = restart.begin(turn, tells_parent=not ordered)
    around = _groups_of(turn, parts)
    opened = dict.fromkeys([*parts.opened, *(group.parent for group in around)])
    outside = [*parts.children, *opened]
    again = restart.with_followers(turn, parts.again)
    again += restart.with_followers(turn, outside)[len(set(outside)) :]
    restart.set_back(turn, again)
    set_back = set(again)
    waiting = [name for name in parts.children if _stands(turn, name, set_back)]
    open_again = [turn.task(name) for name in opened if _stands(turn, name, set_back)]
    for name in waiting:
        _wait_again(turn, turn.task(name), is_told=is_told)
    if not revived:
        turn.commands.extend(ending.child_orders(turn, map(turn.task, waiting)))
    for task in open_again:
        _open(turn, task, revived=revived)
    for group in around:
        if turn.state.groups.get(group.route) is group:
            groups.reopen_group(turn, group)
    restart.go_on(turn, revived=revived)
    for task in open_again:
        groups.resume_groups(turn, task)
    if not revived:
        _resume_running(turn, around)


def _groups_of(turn: Turn, parts: Parts) -> list[GroupState]:
    """Return the groups around all parts, each once, the outer ones first."""
    found: dict[str, GroupState] = {}
    for name in parts.targets():
        for group in groups_around(turn, turn.task(name)):
            found[group.route] = group
    return sorted(found.values(), key=lambda group: group.route.count("-"))


def _stands(turn: Turn, name: str, set_back: set[str]) -> bool:
    """Tell whether an instance still exists, and was not reset as a follower."""
    return name in turn.state.tasks and name not in set_back


def _open(turn: Turn, task: TaskState, *, revived: bool) -> None:
    """Set a foreach or choice that has ended to running."""
    was_abandoned, task.abandoned = task.abandoned, False
    if COMPLETED[task.status]:
        _run_again(turn, task)
        task.invoke.referenced_execution_id = None
    if was_abandoned and not revived:
        _go_on_inside(turn, task)


def _run_again(turn: Turn, task: TaskState) -> None:
    restart.forget_outcome(task.invoke)
    task.caught, task.skips, task.skipped = False, (), b""
    task.spent = task.invoke.attempts
    task.invoke.begin_time(turn.at_ms)
    turn.set_status(task, TaskStatus.RUNNING)
    controls.arm_timeout(turn, task, turn.plan_of(task), task.invoke.input or {})


def _go_on_inside(turn: Turn, task: TaskState) -> None:
    """Start what became ready after the time-out of a foreach or choice."""
    for route in task.routes:
        group = turn.state.groups[route]
        for member in map(turn.task, group.members):
            if member.status is TaskStatus.READY and member.delay_due_ms is None:
                turn.make_ready(member)
            if member.collection is not None:
                turn.make_groups(member)
            _go_on_inside(turn, member)
        if group.status is TaskStatus.RUNNING:
            traversal.resume_scope(turn, route)


def _resume_running(turn: Turn, around: list[GroupState]) -> None:
    for group in around:
        is_there = turn.state.groups.get(group.route) is group
        if is_there and group.status is TaskStatus.RUNNING:
            traversal.resume_scope(turn, group.route)


# -- sub-flows -----------------------------------------------------------------------------


def _wait_again(turn: Turn, task: TaskState, *, is_told: bool) -> None:
    """Have a task wait for its sub-flow again, and request a redo of what failed in it."""
    if COMPLETED[task.status]:
        _run_again(turn, task)
    if not is_told:
        task.child_redos += 1
        task.redoing_child = True


def child_order_delivered(turn: Turn, event: NoticeDelivered) -> bool:
    """Record that a sub-flow accepted a redo; a sub-flow that no longer exists starts again."""
    task = turn.state.tasks.get(event.task)
    if task is None or not task.redoing_child or event.attempt != task.child_redos:
        return False
    task.redoing_child = False
    if turn.state.cancelled:
        # A cancellation may have reached the sub-flow before this request, after its end.
        ending.cancel_again(turn, event.child or "")
    elif event.error is not None and not turn.over and task.status is TaskStatus.RUNNING:
        restart.set_back_one(turn, task)
        mapping_warnings.recount(turn.state)
        turn.make_ready(task)
    return True


def is_news(task: TaskState, event: CallbackReceived) -> bool:
    """Tell whether a notice of a sub-flow is neither a repetition nor outdated."""
    notice = event.sub_flow
    return notice is None or (event.attempt == task.attempt and notice.position > task.told)


def waits_again(turn: Turn, task: TaskState, notice: SubFlowNotice) -> bool:
    """Have a failed task wait for its sub-flow again, because the sub-flow was redone.

    It does so only if nothing has started because of the failure.
    """
    if not notice.redone or not is_sub_flow(turn, task):
        return False
    parents = (turn.task(group.parent) for group in groups_around(turn, task))
    if any(map(has_ended_well, parents)):
        return False
    reopen(turn, Parts(children=[task.name]), is_told=True)
    task.told = notice.position
    return True
