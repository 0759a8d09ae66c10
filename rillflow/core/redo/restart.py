"""The steps that every redo shares: restart the execution, reset instances, start what may start.

Used by `core/redo/reopening.py` and `core/redo/requested.py`.
"""

from collections.abc import Iterable

from rillflow.core import ending, mapping_warnings, timing, traversal
from rillflow.core.state import InvokeMsg, TaskState
from rillflow.core.status import DagStatus, TaskStatus
from rillflow.core.tasks import groups, polling
from rillflow.core.tasks.kept_outputs import drop_outputs
from rillflow.core.turn import Turn, timers_of


def begin(turn: Turn, *, tells_parent: bool) -> bool:
    """Set the execution to running; return whether it had ended.

    With ``tells_parent`` the task that failed because of its end is notified.
    """
    state, ended = turn.state, turn.over
    failed = state.status is DagStatus.FAILED
    if ended:
        state.invoke.begin_time(turn.at_ms)
        forget_outcome(state.invoke)
        state.redone = True
    state.status = DagStatus.RUNNING
    state.cancelled, state.cancelled_by = False, ""
    state.parent_notice = state.completion = None
    if failed and tells_parent:
        ending.notify_parent(turn)
    return ended


def forget_outcome(invoke: InvokeMsg) -> None:
    """Drop the status message and error that the end left."""
    invoke.code = invoke.msg = invoke.hint = invoke.ext = None


def with_followers(turn: Turn, targets: Iterable[str]) -> list[str]:
    """Return instances together with all instances that follow them in their scopes."""
    found = dict.fromkeys(targets)
    frontier = list(found)
    while frontier:
        for successor in turn.successors(turn.task(frontier.pop())):
            if successor.name not in found:
                found[successor.name] = None
                frontier.append(successor.name)
    return list(found)


def set_back(turn: Turn, names: Iterable[str]) -> None:
    """Reset instances to NOT_STARTED; the instances inside them have been dropped before."""
    for name in names:
        task = turn.state.tasks.get(name)
        if task is not None:
            set_back_one(turn, task)


def set_back_one(turn: Turn, task: TaskState) -> None:
    """Reset an instance to NOT_STARTED with a new budget of retries; its history is kept."""
    groups.drop_groups(turn, task)
    turn.close_time(task)
    turn.set_status(task, TaskStatus.NOT_STARTED)
    task.in_flight = task.abandoned = task.caught = task.redoing_child = False
    task.held = task.delay_due_ms = task.timeout_due_ms = task.retry_after_s = None
    task.poll_url = task.poll_due_ms = None
    task.skips, task.skipped = (), b""
    task.warnings, task.warning_counts = (), {}
    task.spent = task.invoke.attempts
    forget_outcome(task.invoke)
    task.invoke.output = task.invoke.referenced_execution_id = None
    drop_outputs(turn.state, task)


def go_on(turn: Turn, *, revived: bool) -> None:
    """Start what may start; after a restart also what the end had interrupted."""
    ready = _ready(turn)
    turn.state.parked = [name for name in turn.state.parked if name in ready]
    timing.arm_execution_timeout(turn)
    mapping_warnings.recount(turn.state)
    if revived:
        _revive(turn)
    traversal.resume_scope(turn, "")


def _ready(turn: Turn) -> set[str]:
    tasks = turn.state.tasks.values()
    return {task.name for task in tasks if task.status is TaskStatus.READY}


def _revive(turn: Turn) -> None:
    """Continue what the end had interrupted, where the redo does not reset it.

    A call that is under way is ordered again, since calls are not repeated after an end.
    """
    for task in turn.state.tasks.values():
        if task.status is TaskStatus.READY and task.delay_due_ms is None:
            turn.make_ready(task)
        if task.in_flight and not traversal.is_abandoned(turn, task.route):
            turn.commands.append(polling.call_under_way(turn, task))
        if task.collection is not None and not traversal.is_abandoned(turn, task.route):
            turn.make_groups(task)
        _set_timers_again(turn, task)
    turn.commands.extend(ending.child_orders(turn, turn.state.tasks.values()))
    for group in turn.state.groups.values():
        if group.status is TaskStatus.RUNNING and not traversal.is_abandoned(turn, group.route):
            traversal.resume_scope(turn, group.route)


def _set_timers_again(turn: Turn, task: TaskState) -> None:
    """Set the timers of an instance again, no longer than before, since the clock may differ."""
    timers = [(timer, timing.longest_wait_ms(turn.state, timer)) for timer in timers_of(task)]
    for timer, longest_ms in timers:
        left_ms = max(timer.due_ms - turn.at_ms, 0)
        turn.set_timer(timer.kind, task, turn.at_ms + min(left_ms, longest_ms))
