"""Events from outside an execution: callbacks, progress, wake-ups, degrade, cancel and others.

`machine.py` calls these functions. Each one checks first and changes afterwards, so a refused
request leaves the execution as it was. Only the reason why a callback or signal was refused is
kept, with the task that waits for it.
"""

from typing import Final, NamedTuple

import msgspec

from rillflow.core import ending
from rillflow.core.events import (
    CallbackReceived,
    CancelRequested,
    CompletionRequested,
    DegradeRequested,
    PauseRequested,
    ProgressReported,
    SubFlowNotice,
    WakeUpReceived,
)
from rillflow.core.redo import reopening
from rillflow.core.state import DegradeSwitch, InvokeMsg, TaskState
from rillflow.core.status import DagStatus, TaskStatus
from rillflow.core.tasks import controls, function_tasks
from rillflow.core.tasks.kept_outputs import note_output
from rillflow.core.tasks.progress import keep_posted_log, keep_progress
from rillflow.core.transitions import (
    EXECUTION_TRANSITIONS,
    FINISHED,
    IGNORE,
    TAKE,
    Entry,
    Refusal,
    Row,
    task_transitions,
)
from rillflow.core.turn import (
    CRASHES,
    TASK_ERRORS,
    Turn,
)
from rillflow.definition.model import SuspenseTask
from rillflow.errors import ExecutionError, ForgedCallbackError, RequestError
from rillflow.ids import ExecutionId
from rillflow.jsontypes import JsonObject, decode_json

UNKNOWN_TASK = 30503
PROCESS_FAIL = 30106
UNSUPPORTED = 30606
TRAVERSAL_FAILED = 30603
LONGEST_REFUSAL: Final = 512


def callback_received(turn: Turn, event: CallbackReceived) -> bool:
    """Handle an outcome from outside; return False for a repetition.

    Raises:
        ExecutionError: The task cannot be finished now (spec 3.11).
        RequestError: ``trigger.json`` names no task of the execution, or its address is
            not sealed for the present attempt of a function task.
    """
    task = _task_to_finish(turn, event)
    _check_seal(turn, task, event.sealed_attempt)
    if turn.plan_of(task).category == "function" and event.sub_flow is not None:
        return _notice_received(turn, task, event, event.sub_flow)
    entry = _entry_of_callback(turn, task, event)
    if event.trigger and turn.plan_of(task).category == "suspense":
        return _signal_received(turn, task, event, entry)
    return _outcome_received(turn, task, event, entry)


def progress_reported(turn: Turn, event: ProgressReported) -> bool:
    """Keep the progress of an attempt; return False for what is outdated, or comes too soon.

    Raises:
        RequestError: The execution has no such task, or the address is not sealed for its
            present attempt.
    """
    task = turn.state.tasks.get(event.task)
    if task is None:
        raise RequestError(f"task not exists {turn.state.execution_id}:{event.task}")
    if turn.plan_of(task).category != "function":
        return False
    _check_seal(turn, task, event.sealed_attempt)
    if task_transitions(turn.state).progress[task.status] is not TAKE:
        return False
    if event.attempt not in (None, task.attempt):
        return False
    return keep_progress(turn.state, task, event)


def awaits_callback(turn: Turn, event: CallbackReceived) -> bool:
    """Tell whether a callback from outside would be taken; its outcome is not looked at.

    It says False and raises only where ``callback_received`` does, whatever the outcome is, and
    changes nothing.

    Raises:
        ExecutionError: As ``callback_received``.
        RequestError: As ``callback_received``.
    """
    task = _task_to_finish(turn, event)
    _check_seal(turn, task, event.sealed_attempt)
    entry = _entry_of_callback(turn, task, event)
    if isinstance(entry, Refusal):
        raise _refused(turn, task, entry)
    return entry is not IGNORE


def _entry_of_callback(turn: Turn, task: TaskState, event: CallbackReceived) -> Entry:
    rows, category = task_transitions(turn.state), turn.plan_of(task).category
    if category == "suspense" and event.trigger:
        return rows.trigger_of_suspense[task.status]
    return (rows.callback if category == "function" else rows.callback_of_other)[task.status]


def _notice_received(
    turn: Turn, task: TaskState, event: CallbackReceived, notice: SubFlowNotice
) -> bool:
    if not reopening.is_news(task, event):
        return False
    rows = task_transitions(turn.state)
    if notice.running:
        entry = rows.child_goes_on[task.status]
    else:
        entry = (rows.child_ended_anew if notice.redone else rows.callback)[task.status]
    if task.status is not TaskStatus.FAILED:
        return _outcome_received(turn, task, event, entry)
    if entry is not TAKE or not reopening.waits_again(turn, task, notice):
        return False
    if not notice.running:
        function_tasks.finish_held(turn, task, turn.plan_of(task), event)
    return True


def _signal_received(turn: Turn, task: TaskState, event: CallbackReceived, entry: Entry) -> bool:
    if entry is IGNORE:
        return False
    if isinstance(entry, Refusal):
        raise _refused(turn, task, entry)
    _wake(turn, task, event.output)
    return True


def _outcome_received(turn: Turn, task: TaskState, event: CallbackReceived, entry: Entry) -> bool:
    """Apply an outcome; the outcome of an earlier attempt is ignored."""
    is_of_another = event.attempt is not None and event.attempt != task.attempt
    if entry is IGNORE or (is_of_another and entry is not FINISHED):
        return False
    if isinstance(entry, Refusal):
        raise _refused(turn, task, entry)
    keep_posted_log(turn.state, task, event.log)
    return _finish_function(turn, task, event)


def _refused(turn: Turn, task: TaskState, refusal: Refusal) -> ExecutionError:
    return refusal.error(execution=turn.state.execution_id, task=task.name)


def _check_seal(turn: Turn, task: TaskState, sealed: int | None) -> None:
    """Refuse an address that was not sealed for this attempt; a suspense needs no seal."""
    if sealed is None or _is_suspense(turn, task):
        return
    if sealed == 0 or sealed != task.attempt:
        raise ForgedCallbackError(
            f"the callback address is not sealed for this attempt of task {task.name}"
        )


def _task_to_finish(turn: Turn, event: CallbackReceived) -> TaskState:
    if not event.task.strip() and not event.trigger:
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
    return FINISHED.error(execution=turn.state.execution_id)


def _is_suspense(turn: Turn, task: TaskState) -> bool:
    return isinstance(turn.plan_of(task).spec, SuspenseTask)


def _finish_function(turn: Turn, task: TaskState, event: CallbackReceived) -> bool:
    if event.will_retry:
        _note_ext(task, event)
        return True
    told = task.told if event.sub_flow is None else event.sub_flow.position
    if task.in_flight:
        # A later notice of a sub-flow replaces an earlier one.
        if task.held is not None and not task.held.key_succeeded and event.sub_flow is None:
            return False
        task.held, task.told = event, told
        return True
    if event.sub_flow is not None:
        # A sub-flow sends no other outcome.
        function_tasks.finish_held(turn, task, turn.plan_of(task), event)
        task.told = told
        return True
    before, before_bytes = _SavedMessages.by(task), task.output_bytes
    try:
        function_tasks.take_callback(turn, task, turn.plan_of(task), event)
    except CRASHES:
        raise
    except TASK_ERRORS as error:
        before.restore(task)
        note_output(turn.state, task, before_bytes)
        _keep_refusal(turn, task, "callback", error)
    task.told = told
    return True


class _SavedMessages(NamedTuple):
    """The messages of a task before an event."""

    invoke: InvokeMsg
    error: str | None

    @classmethod
    def by(cls, task: TaskState) -> "_SavedMessages":
        infos = task.invoke.time_infos
        return cls(msgspec.structs.replace(task.invoke), infos[-1].error if infos else None)

    def restore(self, task: TaskState) -> None:
        task.invoke = self.invoke
        task.invoke.note_error(self.error)


def _keep_refusal(turn: Turn, task: TaskState, what: str, error: Exception) -> None:
    """Keep with a task why an outcome or signal for it was refused.

    The sender gets the error too. Without this record, readers of the execution could not see why
    the task still waits.

    Raises:
        ExecutionError: The same reason is kept already.
    """
    refusal = ExecutionError(str(error), _code_of(error))
    hint = f"a {what} was refused: {error}"[:LONGEST_REFUSAL]
    if task.invoke.hint == hint:
        raise refusal from error
    task.invoke.hint = hint
    turn.refusal = refusal


def _note_ext(task: TaskState, event: CallbackReceived) -> None:
    ext = decode_json(event.ext) if event.ext else None
    if isinstance(ext, dict):
        task.invoke.ext = {**(task.invoke.ext or {}), **ext}
    if event.msg is not None:
        task.invoke.msg = event.msg
        task.invoke.note_error(event.msg)


def wake_up_received(turn: Turn, event: WakeUpReceived) -> None:
    """Handle a signal for a suspense task (spec 3.16).

    Raises:
        ExecutionError: The execution has ended, or the task cannot be woken up.
    """
    task = turn.state.tasks.get(event.task)
    if task is None and turn.over:
        raise _finished(turn)
    if task is None:
        raise ExecutionError(f"storage can not get taskInfo:{event.task}", UNKNOWN_TASK)
    rows = task_transitions(turn.state)
    row = rows.wake_up if _is_suspense(turn, task) else rows.wake_up_of_other
    entry = row[task.status]
    if isinstance(entry, Refusal):
        raise _refused(turn, task, entry)
    _wake(turn, task, event.data)


def _wake(turn: Turn, task: TaskState, data: bytes) -> None:
    document = decode_json(data)
    state, context, before = turn.state, turn.context_of(task), _SavedMessages.by(task)
    try:
        _apply_signal(turn, task, document if isinstance(document, dict) else {})
    except CRASHES:
        raise
    except TASK_ERRORS as error:
        before.restore(task)
        if task.route:
            state.groups[task.route].context = context
        else:
            state.context = context
        _keep_refusal(turn, task, "signal", error)


def _code_of(error: Exception) -> int:
    """Return the code of a failure; 30505 if the context could not be kept."""
    return error.wire_code if isinstance(error, ExecutionError) else TRAVERSAL_FAILED


def _apply_signal(turn: Turn, task: TaskState, data: JsonObject) -> None:
    plan = turn.plan_of(task)
    task.invoke.hint = None
    if data and plan.spec.output_mappings:
        controls.map_output(turn, task, plan, data)
    if task.status is not TaskStatus.RUNNING:
        return
    _, document = turn.apply(task, plan.inputs, {})
    controls.check_suspense(turn, task, plan, document)


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


def _check(turn: Turn, row: Row, **facts: str) -> None:
    entry = row[turn.state.status]
    if isinstance(entry, Refusal):
        raise entry.error(execution=turn.state.execution_id, **facts)


def completion_requested(turn: Turn, event: CompletionRequested) -> None:
    """End the execution by hand; no notice is sent (spec 3.18).

    Raises:
        ExecutionError: The present status does not come before the wanted one.
    """
    wanted = DagStatus.SUCCEED if event.success else DagStatus.FAILED
    current = turn.state.status
    rows = EXECUTION_TRANSITIONS
    row = rows.complete_well if event.success else rows.complete_badly
    _check(turn, row, wanted=wanted.name, current=current.name)
    turn.state.status = wanted
    turn.state.timeout_due_ms = None
    ending.close_execution_time(turn)


def refuse_stranger(turn: Turn, parent: ExecutionId | None) -> None:
    """Refuse what an execution requests of a sub-flow that it has not started.

    The answer of a function may name any execution as the sub-flow of its task.

    Raises:
        RequestError: Another execution, or none, has started this one.
    """
    started_by = turn.state.parent
    if parent is not None and (started_by is None or started_by.execution_id != parent):
        raise RequestError(f"{turn.state.execution_id} is no sub-flow of {parent}")


def cancel_requested(turn: Turn, event: CancelRequested) -> None:
    """Stop the execution and its sub-flows.

    Raises:
        ExecutionError: It has ended already.
        RequestError: An execution that has not started it requests that.
    """
    refuse_stranger(turn, event.parent)
    _check(turn, EXECUTION_TRANSITIONS.cancel)
    turn.state.cancelled = True
    turn.state.cancelled_by = event.by
    ending.cancel_children(turn, turn.state.tasks.values())
    ending.finish_execution(turn, DagStatus.FAILED, "cancelled")


def pause_requested(turn: Turn, event: PauseRequested) -> None:
    """Pause; one that is paused already stays so since then.

    Raises:
        ExecutionError: It has ended already.
    """
    _check(turn, EXECUTION_TRANSITIONS.pause)
    state = turn.state
    if not state.paused:
        state.paused, state.paused_ms, state.paused_by = True, event.at_ms, event.by


def resume_requested(turn: Turn) -> None:
    """Resume; tasks that became READY during the pause start.

    Raises:
        ExecutionError: It has ended already.
    """
    _check(turn, EXECUTION_TRANSITIONS.resume)
    state = turn.state
    state.paused, state.paused_ms, state.paused_by = False, None, ""
    for name in state.parked:
        turn.make_ready(turn.task(name))
    state.parked = []
