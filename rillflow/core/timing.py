"""Timers that come due: delays, polls and time-outs (spec 3.13).

Used by `core/machine.py`, `core/redo/restart.py` and `runtime/commands/runner.py`.
"""

from rillflow.core import ending
from rillflow.core.agenda import REMAINING
from rillflow.core.commands import SetTimer
from rillflow.core.events import TimerFired
from rillflow.core.state import ExecutionState, TaskState
from rillflow.core.status import DagStatus
from rillflow.core.tasks import controls, function_tasks, polling
from rillflow.core.transitions import EXECUTION_TRANSITIONS, TAKE, task_transitions
from rillflow.core.turn import LATEST_MS, Turn, value_of
from rillflow.errors import LanguageError, WorkLimitError
from rillflow.language.text.literals import whole_number


def timer_fired(turn: Turn, event: TimerFired) -> bool:
    """Handle a timer; return False if what it was set for is over."""
    if event.kind == "dag":
        return _dag_timeout(turn, event)
    if event.kind == REMAINING:
        return turn.state.remaining is not None and turn.state.remaining.due_ms == event.due_ms
    task = turn.state.tasks.get(event.task)
    return task is not None and _timer_of_task_fired(turn, task, event)


def _timer_of_task_fired(turn: Turn, task: TaskState, event: TimerFired) -> bool:
    if event.kind == "delay":
        return _delay_over(turn, task, event)
    if event.kind == "poll":
        return polling.poll_due(turn, task, event.due_ms)
    return _task_timeout(turn, task, event)


def _delay_over(turn: Turn, task: TaskState, event: TimerFired) -> bool:
    entry = task_transitions(turn.state).delay_over[task.status]
    if entry is not TAKE or task.delay_due_ms != event.due_ms:
        return False
    task.delay_due_ms = None
    turn.make_ready(task)
    return True


def _dag_timeout(turn: Turn, event: TimerFired) -> bool:
    entry = EXECUTION_TRANSITIONS.time_out[turn.state.status]
    if entry is not TAKE or turn.state.timeout_due_ms != event.due_ms:
        return False
    ending.finish_execution(turn, DagStatus.FAILED, "timeout")
    return True


def _task_timeout(turn: Turn, task: TaskState, event: TimerFired) -> bool:
    entry = task_transitions(turn.state).time_out[task.status]
    if entry is not TAKE or task.timeout_due_ms != event.due_ms:
        return False
    plan = turn.plan_of(task)
    task.timeout_due_ms = None
    held, task.held = task.held, None
    task.in_flight = False
    if plan.category == "function" and held is not None:
        function_tasks.finish_held(turn, task, plan, held)
        return True
    task.invoke.msg = "timeout"
    task.invoke.note_error("timeout")
    if plan.category == "function":
        function_tasks.retry_or_end(turn, task, plan, {})
        return True
    tolerated = plan.spec.tolerance
    if plan.category == "suspense":
        timeline = plan.spec.timeline
        skip = timeline.skip_on_timeout if timeline else None
        tolerated = tolerated and (skip or "").strip().lower() == "true"
    else:
        task.abandoned = True
    controls.end_failed(turn, task, None, tolerated=tolerated)
    return True


def arm_execution_timeout(turn: Turn) -> None:
    """Set the time-out of the whole execution, counted from now (spec 3.13)."""
    timeline = turn.plan.definition.timeline
    if timeline is None or timeline.timeout_s is None:
        return
    try:
        limit_s = whole_number(
            value_of(timeline.timeout_s, {"context": turn.state.context}, turn.budget)
        )
    except (LanguageError, WorkLimitError):
        return
    if limit_s is not None and limit_s > 0:
        turn.state.timeout_due_ms = min(turn.at_ms + limit_s * 1000, LATEST_MS)
        turn.state.timeout_armed_ms = turn.at_ms
        turn.set_execution_timer(turn.state.timeout_due_ms)


def longest_wait_ms(state: ExecutionState, timer: SetTimer) -> int:
    """Return the longest time for which a timer can have been set.

    Its due time is by a clock that may have been wrong. For timers of executions that an older
    release ended the result is somewhat too long, because those releases did not store when a timer
    was set.
    """
    if timer.kind == REMAINING:
        return 0
    task = state.tasks.get(timer.task)
    if task is None:
        armed_ms = state.timeout_armed_ms
    else:
        armed_ms = task.poll_armed_ms if timer.kind == "poll" else task.armed_ms
    if armed_ms is None:
        infos = (task or state).invoke.time_infos
        armed_ms = infos[-1].end_ms or infos[-1].start_ms
    return max(timer.due_ms - armed_ms, 0)
