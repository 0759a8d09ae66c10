"""Running tasks, and all that follows them, again (SEMANTICS 3.17)."""

from rillflow.core import groups, polling, timing, traversal
from rillflow.core.events import RedoRequested
from rillflow.core.state import TaskState, TimeInfo
from rillflow.core.status import STARTED, DagStatus, TaskStatus
from rillflow.core.turn import Turn, stored_context, timers_of
from rillflow.jsontypes import decode_json


def redo_requested(turn: Turn, event: RedoRequested) -> None:
    """Run tasks, and all that follows them, again (SEMANTICS 3.17).

    Without names, a cancelled execution goes on even if no task is to be run again: what was
    under way when it was cancelled may have ended since.
    """
    state = turn.state
    data = decode_json(event.data)
    targets = _redo_targets(turn, event)
    if isinstance(data, dict) and data:
        state.context = stored_context(
            {**state.context, **data}, state.context, state.context_max_bytes
        )
    ended = turn.over
    goes_on = ended and state.cancelled and not event.tasks
    if not targets and not goes_on:
        return
    if ended:
        state.invoke.time_infos.append(TimeInfo(start_ms=turn.at_ms))
        state.invoke.code = state.invoke.msg = state.invoke.ext = state.invoke.hint = None
    state.status = DagStatus.RUNNING
    state.cancelled = False
    state.parent_notice = state.completion = None
    for name in _reachable(turn, targets):
        _reset(turn, turn.task(name))
    state.parked = [name for name in state.parked if name in _ready(turn)]
    timing.arm_execution_timeout(turn)
    if ended:
        _revive(turn)
    traversal.resume_scope(turn, "")


def _ready(turn: Turn) -> set[str]:
    tasks = turn.state.tasks.values()
    return {task.name for task in tasks if task.status is TaskStatus.READY}


def _revive(turn: Turn) -> None:
    """Go on with what the end had interrupted, where the redo leaves it alone.

    A call that is under way is ordered again: nobody insisted on it after the end.
    """
    for task in turn.state.tasks.values():
        if task.status is TaskStatus.READY and task.delay_due_ms is None:
            turn.make_ready(task)
        if task.in_flight and not traversal.is_abandoned(turn, task.route):
            turn.commands.append(polling.call_under_way(turn, task))
        _set_timers_again(turn, task)
    for group in turn.state.groups.values():
        if group.status is TaskStatus.RUNNING and not traversal.is_abandoned(turn, group.route):
            traversal.resume_scope(turn, group.route)


def _set_timers_again(turn: Turn, task: TaskState) -> None:
    """Set what an instance waits for, no longer than before: the clock may be another one."""
    timers = [(timer, timing.longest_wait_ms(turn.state, timer)) for timer in timers_of(task)]
    for timer, longest_ms in timers:
        left_ms = max(timer.due_ms - turn.at_ms, 0)
        turn.set_timer(timer.kind, task, turn.at_ms + min(left_ms, longest_ms))


def _redo_targets(turn: Turn, event: RedoRequested) -> list[str]:
    tasks = turn.state.tasks
    if event.tasks:
        names = [name.strip().split("_")[0] for name in event.tasks]
        return [n for n in dict.fromkeys(names) if n in tasks and STARTED[tasks[n].status]]
    settled = (TaskStatus.NOT_STARTED, TaskStatus.SUCCEED, TaskStatus.SKIPPED)
    return [n for n in turn.plan.level.tasks if tasks[n].status not in settled]


def _reachable(turn: Turn, targets: list[str]) -> list[str]:
    found = dict.fromkeys(targets)
    frontier = list(targets)
    while frontier:
        for name in turn.plan.level.tasks[frontier.pop()].successors:
            if name not in found:
                found[name] = None
                frontier.append(name)
    return list(found)


def _reset(turn: Turn, task: TaskState) -> None:
    groups.drop_groups(turn, task)
    turn.close_time(task)
    turn.set_status(task, TaskStatus.NOT_STARTED)
    task.in_flight = task.abandoned = task.caught = False
    task.held = task.delay_due_ms = task.timeout_due_ms = task.retry_after_s = None
    task.poll_url = task.poll_due_ms = None
    task.skips = []
    task.warnings, task.warning_counts = [], {}
    task.spent = len(task.invoke.time_infos)
    invoke = task.invoke
    invoke.code = invoke.msg = invoke.hint = invoke.ext = None
    invoke.output = invoke.referenced_execution_id = None
