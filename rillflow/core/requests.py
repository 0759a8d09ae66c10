"""What the outside may ask of a running execution: callbacks, wake-ups, manual actions.

Each function checks first and changes afterwards, so a request that is refused
leaves the execution as it was.
"""

import msgspec

from rillflow.core import controls, ending, functions, groups, polling, traversal
from rillflow.core.events import (
    CallbackReceived,
    CompletionRequested,
    DegradeRequested,
    RedoRequested,
    TimerFired,
    WakeUpReceived,
)
from rillflow.core.state import DegradeSwitch, TaskState, TimeInfo
from rillflow.core.status import COMPLETED, STARTED, DagStatus, TaskStatus
from rillflow.core.turn import (
    TASK_ERRORS,
    Turn,
    stored_context,
    timers_of,
    value_of,
    whole_number,
)
from rillflow.definition.model import SuspenseTask
from rillflow.errors import ExecutionError, LanguageError, RequestError
from rillflow.jsontypes import JsonObject, decode_json

UNKNOWN_TASK = 30503
PROCESS_FAIL = 30106
UNSUPPORTED = 30606
TRAVERSAL_FAILED = 30603


def callback_received(turn: Turn, event: CallbackReceived) -> bool:
    """Take an outcome from outside; return False when it is a repetition.

    Raises:
        ExecutionError: The task cannot be finished now (SEMANTICS 3.11).
        RequestError: ``trigger.json`` names no task of the execution.
    """
    task = _task_to_finish(turn, event)
    if COMPLETED[task.status]:
        return False
    if turn.over:
        raise _finished(turn)
    if _is_suspense(turn, task) and event.trigger:
        _wake(turn, task, event.output)
        return True
    if event.attempt is not None and event.attempt != task.attempt:
        return False
    waiting = task.status in (TaskStatus.RUNNING, TaskStatus.KEY_SUCCEED)
    if not waiting or turn.plan_of(task).category != "function":
        raise ExecutionError(f"attempt finish wrong task {task.name}")
    return _finish_function(turn, task, event)


def _task_to_finish(turn: Turn, event: CallbackReceived) -> TaskState:
    if not event.task.strip():
        raise ExecutionError("finish taskName can not be null", UNSUPPORTED)
    task = turn.state.tasks.get(event.task)
    if task is None and event.trigger:
        raise RequestError(f"task not exists {turn.state.execution_id}:{event.task}")
    if task is None and turn.over:
        raise _finished(turn)
    if task is None:
        raise ExecutionError(f"storage can not get taskInfo:{event.task}", UNKNOWN_TASK)
    return task


def _finished(turn: Turn) -> ExecutionError:
    return ExecutionError(f"validateDAGInfo dag executionId:{turn.state.execution_id} is finished")


def _is_suspense(turn: Turn, task: TaskState) -> bool:
    return isinstance(turn.plan_of(task).spec, SuspenseTask)


def _finish_function(turn: Turn, task: TaskState, event: CallbackReceived) -> bool:
    if event.will_retry:
        _note_ext(task, event)
        return True
    if task.in_flight:
        if task.held is not None and not task.held.key_succeeded:
            return False
        task.held = event
        return True
    before = msgspec.structs.replace(task.invoke)
    try:
        functions.take_callback(turn, task, turn.plan_of(task), event)
    except TASK_ERRORS as error:
        task.invoke = before
        raise ExecutionError(str(error), TRAVERSAL_FAILED) from error
    return True


def _note_ext(task: TaskState, event: CallbackReceived) -> None:
    ext = decode_json(event.ext) if event.ext else None
    if isinstance(ext, dict):
        task.invoke.ext = {**(task.invoke.ext or {}), **ext}
    if event.msg is not None:
        task.invoke.msg = event.msg


def wake_up_received(turn: Turn, event: WakeUpReceived) -> None:
    """Take a signal for a suspense task (SEMANTICS 3.16).

    Raises:
        ExecutionError: The execution has ended, or the task cannot be woken up.
    """
    if turn.over:
        raise _finished(turn)
    task = turn.state.tasks.get(event.task)
    if task is None:
        raise ExecutionError(f"storage can not get taskInfo:{event.task}", UNKNOWN_TASK)
    if not _is_suspense(turn, task):
        raise ExecutionError(f"task {event.task} category is not suspense type")
    if COMPLETED[task.status]:
        raise ExecutionError(f"repeated finish task {task.name}")
    _wake(turn, task, event.data)


def _wake(turn: Turn, task: TaskState, data: bytes) -> None:
    document = decode_json(data)
    state, context, invoke = turn.state, turn.context_of(task), msgspec.structs.replace(task.invoke)
    try:
        _apply_signal(turn, task, document if isinstance(document, dict) else {})
    except TASK_ERRORS as error:
        task.invoke = invoke
        if task.route:
            state.groups[task.route].context = context
        else:
            state.context = context
        raise ExecutionError(str(error), TRAVERSAL_FAILED) from error


def _apply_signal(turn: Turn, task: TaskState, data: JsonObject) -> None:
    plan = turn.plan_of(task)
    if data and plan.spec.output_mappings:
        controls.map_output(turn, task, plan, data)
    if task.status is not TaskStatus.RUNNING:
        return
    _, document = turn.apply(task, plan.inputs, {})
    controls.check_suspense(turn, task, plan, document)


def timer_fired(turn: Turn, event: TimerFired) -> bool:
    """Take a timer; return False when what it was set for is over."""
    if turn.over:
        return False
    if event.kind == "dag":
        return _dag_timeout(turn, event)
    task = turn.state.tasks.get(event.task)
    if task is None:
        return False
    if event.kind == "delay":
        return _delay_over(turn, task, event)
    if event.kind == "poll":
        return polling.poll_due(turn, task, event.due_ms)
    return _task_timeout(turn, task, event)


def _delay_over(turn: Turn, task: TaskState, event: TimerFired) -> bool:
    if task.status is not TaskStatus.READY or task.delay_due_ms != event.due_ms:
        return False
    task.delay_due_ms = None
    turn.make_ready(task)
    return True


def _dag_timeout(turn: Turn, event: TimerFired) -> bool:
    if turn.state.timeout_due_ms != event.due_ms:
        return False
    ending.finish_execution(turn, DagStatus.FAILED, "timeout")
    return True


def _task_timeout(turn: Turn, task: TaskState, event: TimerFired) -> bool:
    if task.status is not TaskStatus.RUNNING or task.timeout_due_ms != event.due_ms:
        return False
    plan = turn.plan_of(task)
    task.timeout_due_ms = None
    held, task.held = task.held, None
    task.in_flight = False
    if plan.category == "function" and held is not None:
        functions.finish_held(turn, task, plan, held)
        return True
    task.invoke.msg = "timeout"
    if plan.category == "function":
        functions.retry_or_end(turn, task, plan, {})
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
    """Set the time-out of the whole execution, counted from now (SEMANTICS 3.13)."""
    timeline = turn.plan.definition.timeline
    if timeline is None or timeline.timeout_s is None:
        return
    try:
        limit_s = whole_number(value_of(timeline.timeout_s, {"context": turn.state.context}))
    except LanguageError:
        return
    if limit_s is not None and limit_s > 0:
        turn.state.timeout_due_ms = turn.at_ms + limit_s * 1000
        turn.set_execution_timer(turn.state.timeout_due_ms)


def redo_requested(turn: Turn, event: RedoRequested) -> None:
    """Run tasks, and all that follows them, again (SEMANTICS 3.17)."""
    state = turn.state
    data = decode_json(event.data)
    targets = _redo_targets(turn, event)
    if isinstance(data, dict) and data:
        state.context = stored_context({**state.context, **data}, state.context)
    if not targets:
        return
    ended = turn.over
    if ended:
        state.invoke.time_infos.append(TimeInfo(start_ms=turn.at_ms))
        state.invoke.code = state.invoke.msg = state.invoke.ext = None
    state.status = DagStatus.RUNNING
    state.cancelled = False
    state.parent_notice = state.completion = None
    for name in _reachable(turn, targets):
        _reset(turn, turn.task(name))
    state.parked = [name for name in state.parked if name in _ready(turn)]
    arm_execution_timeout(turn)
    if ended:
        _revive(turn)
    traversal.resume_scope(turn, "")


def _ready(turn: Turn) -> set[str]:
    tasks = turn.state.tasks.values()
    return {task.name for task in tasks if task.status is TaskStatus.READY}


def _revive(turn: Turn) -> None:
    """Go on with what the end had interrupted, where the redo leaves it alone."""
    for task in turn.state.tasks.values():
        if task.status is TaskStatus.READY and task.delay_due_ms is None:
            turn.make_ready(task)
        turn.commands.extend(timers_of(task))
    for group in turn.state.groups.values():
        if group.status is TaskStatus.RUNNING and not traversal.is_abandoned(turn, group.route):
            traversal.resume_scope(turn, group.route)


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
    task.spent = len(task.invoke.time_infos)
    invoke = task.invoke
    invoke.code = invoke.msg = invoke.output = invoke.ext = invoke.referenced_execution_id = None


def degrade_requested(turn: Turn, event: DegradeRequested) -> None:
    """Set degrade switches on a task of the definition, within this execution.

    Raises:
        RequestError: There is no such task (30106).
    """
    base = event.task.rsplit("-", 1)[-1]
    if base not in turn.plan.by_name:
        raise RequestError(
            f"can not find base task:{event.task}, executionId:{turn.state.execution_id}",
            wire_code=PROCESS_FAIL,
        )
    turn.state.degrades[base] = DegradeSwitch(event.current, event.followings)


def completion_requested(turn: Turn, event: CompletionRequested) -> None:
    """End the execution by hand; nobody is told (SEMANTICS 3.18).

    Raises:
        ExecutionError: The present status does not come before the wanted one.
    """
    wanted = DagStatus.SUCCEED if event.success else DagStatus.FAILED
    current = turn.state.status
    if current >= wanted:
        raise ExecutionError(f"status is {current.name} now, and cannot be set to {wanted.name}")
    turn.state.status = wanted
    turn.state.timeout_due_ms = None
    ending.close_execution_time(turn)


def cancel_requested(turn: Turn) -> None:
    """Stop the execution and its sub-flows.

    Raises:
        ExecutionError: It has ended already.
    """
    if turn.over:
        raise _finished(turn)
    turn.state.cancelled = True
    ending.cancel_children(turn)
    ending.finish_execution(turn, DagStatus.FAILED, "cancelled")


def pause_requested(turn: Turn, *, paused: bool) -> None:
    """Pause or resume; what became READY meanwhile runs on resumption.

    Raises:
        ExecutionError: It has ended already.
    """
    if turn.over:
        raise _finished(turn)
    turn.state.paused = paused
    if not paused:
        for name in turn.state.parked:
            turn.make_ready(turn.task(name))
        turn.state.parked = []
