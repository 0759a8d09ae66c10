"""The end of an execution, and the notices to its parent and to the completion callback.

Implements spec 3.15 and 3.19. It builds commands and notes which notices are still owed; it does
not deliver them.

Used by `core`, `core/redo`, `runtime/activation/active_execution.py` and
`runtime/commands/runner.py`.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Final

from rillflow.core.commands import Announce, CancelChild, DispatchTask, NotifyParent, RedoChild
from rillflow.core.encoding.stored_context import Cleaner
from rillflow.core.events import CallbackReceived, NoticeDelivered, SubFlowNotice
from rillflow.core.mapping_warnings import COMPLETION, Application
from rillflow.core.plan import Plan
from rillflow.core.state import ExecutionState, TaskState
from rillflow.core.status import DagStatus, TaskStatus
from rillflow.core.turn import CRASHES, TASK_ERRORS, Turn, as_object, trigger_address
from rillflow.core.view import dag_info, invoke_view
from rillflow.definition.model import CallbackConfig, FunctionTask
from rillflow.errors import ExecutionError
from rillflow.ids import workspace_of
from rillflow.ids_of_others import as_told_to
from rillflow.jsontypes import EMPTY_OBJECT, JsonObject, JsonValue, encode_json
from rillflow.language.budget import TotalBudget
from rillflow.language.mapping.ineffective_rules import IneffectiveRule, Kind
from rillflow.language.versions import AVIATOR_AND_JAYWAY_MEASURED, IDS_OF_OTHERS_HIDDEN

_EVENTS = {
    DagStatus.SUCCEED: "DAG_SUCCEED",
    DagStatus.FAILED: "DAG_FAILED",
    DagStatus.KEY_SUCCEED: "DAG_KEY_SUCCEED",
}


def finish_execution(turn: Turn, status: DagStatus, message: str | None = None) -> None:
    """End the execution: set status, message and end time, and order the notices."""
    state = turn.state
    if state.status is status:
        return
    state.status = status
    if status is DagStatus.FAILED:
        _quote_failure(turn)
    if message is not None:
        state.invoke.msg = message
    if status is not DagStatus.KEY_SUCCEED:
        close_execution_time(turn)
        state.timeout_due_ms = None
        state.parked = []
    notify_parent(turn)
    _order_completion_callback(turn, status)
    turn.commands.append(Announce(kind=_EVENTS[status]))


def close_execution_time(turn: Turn) -> None:
    """Close the open time info of the execution."""
    infos = turn.state.invoke.time_infos
    if infos and infos[-1].end_ms is None:
        infos[-1].end_ms = turn.at_ms


def _quote_failure(turn: Turn) -> None:
    """Quote the first failed task of the top level, else of the groups below (spec Q68)."""
    level = [turn.task(name) for name in turn.plan.level.tasks]
    while level:
        for task in level:
            if task.status is TaskStatus.FAILED:
                turn.state.invoke.quote(task.invoke)
                return
        routes = (route for task in level for route in task.routes)
        level = [turn.task(name) for route in routes for name in turn.state.groups[route].members]


def notify_parent(turn: Turn) -> None:
    """Report the state of this sub-flow to the task that waits for it, if there is one.

    A sub-flow that runs reports that a redo has started it again; one that has ended reports its
    outcome.
    """
    state = turn.state
    if state.parent is None or state.parent.pattern != "flow_sync":
        return
    invoke, running = state.invoke, state.status is DagStatus.RUNNING
    msg = _told(state, invoke.msg.encode()) if invoke.msg is not None else None
    ext = _told(state, encode_json(invoke.ext)) if invoke.ext is not None else None
    state.parent_attempt += not running
    state.parent_notice = CallbackReceived(
        at_ms=turn.at_ms,
        task=state.parent.task,
        attempt=state.parent.attempt,
        succeeded=None if running else state.status is not DagStatus.FAILED,
        key_succeeded=state.status is DagStatus.KEY_SUCCEED,
        output=EMPTY_OBJECT if running else _told(state, encode_json(state.context)),
        code=invoke.code,
        msg=msg.decode() if msg is not None else None,
        ext=ext,
        sub_flow=SubFlowNotice(number=state.parent_attempt, redone=state.redone, running=running),
    )
    turn.commands.extend(parent_commands(state))


def _told(state: ExecutionState, text: bytes) -> bytes:
    """Return a text for the parent; one of another workspace is told no ids of executions here."""
    if state.parent is None or state.language < IDS_OF_OTHERS_HIDDEN:
        return text
    parent = state.parent.execution_id
    if workspace_of(parent) == workspace_of(state.execution_id):
        return text
    return as_told_to(parent, text)


def parent_commands(state: ExecutionState) -> Iterator[NotifyParent]:
    """Build the command that notifies the parent, if a notice is owed; also after a restart."""
    if state.parent is not None and state.parent_notice is not None:
        yield NotifyParent(
            execution_id=state.parent.execution_id,
            callback=state.parent_notice,
            attempt=state.parent_attempt,
        )


_NO_CALLBACK: Final = CallbackConfig()
PARENT_KINDS: Final = ("parent", "redone")


def kind_of(notice: CallbackReceived | None) -> str:
    """Return the kind under which the delivery of a notice to the parent is recorded, or ""."""
    if notice is None:
        return ""
    running = notice.sub_flow is not None and notice.sub_flow.running
    return "redone" if running else "parent"


def notice_delivered(state: ExecutionState, event: NoticeDelivered) -> bool:
    """Record that a notice was delivered; return False if it was not owed, or was replaced."""
    if event.kind == "cancel":
        due = event.child in state.uncancelled
        if due:  # one of two owed notices, after a redo in between
            place = state.uncancelled.index(event.child or "")
            state.uncancelled = state.uncancelled[:place] + state.uncancelled[place + 1 :]
    elif event.kind in PARENT_KINDS:
        due = event.kind == kind_of(state.parent_notice)
        due = due and event.attempt in (None, state.parent_attempt)
        state.parent_notice = None if due else state.parent_notice
    else:
        due = state.completion is not None and event.attempt in (None, state.completion_attempt)
        state.completion = None if due else state.completion
    return due


def owes_notice(state: ExecutionState) -> bool:
    """Tell whether a notice is still to be delivered."""
    return bool(state.uncancelled) or not (state.parent_notice is None and state.completion is None)


def _order_completion_callback(turn: Turn, status: DagStatus) -> None:
    config = _callback_config(turn.plan, turn.state)
    if status is DagStatus.KEY_SUCCEED or not (config.resource_name or "").strip():
        return
    try:
        turn.state.completion = encode_json(_completion_body(turn, config))
    except CRASHES:
        raise
    except TASK_ERRORS as error:
        # A failure of the completion callback must not keep the execution from ending.
        reason = f"the callback is not made: {type(error).__name__}"
        told = IneffectiveRule(0, COMPLETION, Kind.NOT_WRITTEN, reason, reason)
        turn.mapped.append(Application("", "", COMPLETION, (told,)))
        return
    turn.state.completion_attempt += 1
    turn.commands.append(completion_command(turn.plan, turn.state))


def _callback_config(plan: Plan, state: ExecutionState) -> CallbackConfig:
    if state.callback is not None:
        return CallbackConfig.model_validate(state.callback)
    return plan.definition.callback or _NO_CALLBACK


def completion_command(plan: Plan, state: ExecutionState) -> DispatchTask:
    """Build the completion callback, also after a restart (spec 3.19)."""
    return DispatchTask(
        execution_id=state.execution_id,
        task="",
        attempt=state.completion_attempt,
        pattern="completion",
        resource_name=_callback_config(plan, state).resource_name or "",
        input=state.completion or EMPTY_OBJECT,
        at_ms=state.invoke.time_infos[-1].end_ms or 0,
        traceparent=state.traceparent_of("", state.completion_attempt),
    )


def _completion_body(turn: Turn, config: CallbackConfig) -> JsonObject:
    """Build the body of the completion callback.

    What the callback asks for besides its mapped inputs, and the inputs and outputs of failed
    tasks, are left out where they do not fit; ``left_out`` names them then.

    Raises:
        LanguageError: A rule with ``tolerance: false`` failed.
        ExecutionError: Its input is larger than an input may be (30507).
    """
    state = turn.state
    body, room = _mapped(turn, config)
    failed = state.status is DagStatus.FAILED
    body["dag_status"] = "failed" if failed else "succeed"
    left_out: list[JsonValue] = []
    if failed:
        info: JsonObject = {"dag_invoke_info": invoke_view(state.invoke)}
        tasks = [task for task in state.tasks.values() if task.status is TaskStatus.FAILED]
        of_tasks = _failed_tasks_info(tasks, room)
        if of_tasks is None:
            left_out.append("failed_tasks_invoke_info")
        else:
            info["failed_tasks_invoke_info"] = of_tasks
        body["error_info"] = info
    if config.full_dag_info:
        dumped = _dag_info(turn, room)
        if dumped is None:
            left_out.append("dag_info")
        else:
            body["dag_info"] = dumped
    if config.full_context:
        if room.takes(state.context):
            body["data"] = state.context
        else:
            left_out.append("data")
    if left_out:
        body["left_out"] = left_out
    return body


class _Room:
    """How much a body may still take; a value that occurs in many places counts for each."""

    def __init__(self, left_bytes: int) -> None:
        self.left_bytes = left_bytes

    def takes(self, value: JsonValue) -> bool:
        """Take the size of a value, if it fits."""
        left = self._left_after(value)
        if left is None:
            return False
        self.left_bytes = left
        return True

    def has_place_for(self, tasks: Iterable[TaskState]) -> bool:
        """Tell whether the values of tasks would fit, before they are copied for a view."""
        values: list[JsonValue] = []
        for task in tasks:
            invoke = task.invoke
            values += (invoke.input, invoke.output, invoke.msg, invoke.progress_args, invoke.ext)
        return self._left_after(values) is not None

    def _left_after(self, value: JsonValue) -> int | None:
        cleaner = Cleaner(self.left_bytes, TotalBudget(None, self.left_bytes))
        try:
            cleaner.clean(value)
        except ExecutionError:
            return None
        return cleaner.left


def _mapped(turn: Turn, config: CallbackConfig) -> tuple[JsonObject, _Room]:
    """Return the mapped inputs, and the room that they leave."""
    plan, state = turn.plan, turn.state
    # A turn that exceeded its budget has ended the execution, so the body gets a budget of its own.
    budget = TotalBudget(state.turn_max_steps, state.turn_max_bytes, state.language)
    mappings = plan.callback_inputs
    if state.callback is not None:
        mappings = plan.compile_callback_inputs(config)
    mapped = mappings.apply(
        context=state.context,
        input={},
        output={},
        trigger_url=partial(trigger_address, turn, ""),
        seed=state.seq,
        language=state.language,
        budget=budget,
    )
    if mapped.passed_over or state.warnings:
        turn.mapped.append(Application("", "", COMPLETION, mapped.passed_over))
    cleaner = Cleaner(state.context_max_bytes, budget)
    cleaned = cleaner.clean(mapped.input)
    cleaner.charge()
    keeps_nulls = state.language >= AVIATOR_AND_JAYWAY_MEASURED
    body = dict(as_object(mapped.input if keeps_nulls else cleaned))
    return body, _Room(cleaner.left)


def _failed_tasks_info(tasks: list[TaskState], room: _Room) -> JsonObject | None:
    if not room.has_place_for(tasks):
        return None
    info: JsonObject = {task.name: invoke_view(task.invoke) for task in tasks}
    return info if room.takes(info) else None


def _dag_info(turn: Turn, room: _Room) -> JsonObject | None:
    plan, tasks = turn.plan, turn.state.tasks
    if plan.shown_bytes > room.left_bytes:
        return None
    if not room.has_place_for(tasks[name] for name in plan.level.tasks):
        return None
    info = dag_info(plan, turn.state)
    return info if room.takes(info) else None


def cancel_children(turn: Turn, tasks: Iterable[TaskState]) -> None:
    """Order the cancellation of the sub-flows that these tasks wait for."""
    owed = dict.fromkeys(turn.state.uncancelled)
    before = len(owed)
    for task in tasks:
        spec, child = turn.plan_of(task).spec, task.invoke.referenced_execution_id
        waits = isinstance(spec, FunctionTask) and spec.pattern == "flow_sync"
        waits = waits and task.status in (TaskStatus.RUNNING, TaskStatus.KEY_SUCCEED)
        if waits and child:
            owed[child] = None
    added = list(owed)[before:]
    if added:
        turn.state.uncancelled = [*turn.state.uncancelled, *added]
    turn.commands.extend(CancelChild(execution_id=child) for child in added)


def cancel_again(turn: Turn, child: str) -> None:
    """Order a cancellation. Earlier ones may still be owed; each is owed separately."""
    turn.state.uncancelled = [*turn.state.uncancelled, child]
    turn.commands.append(CancelChild(execution_id=child))


def child_orders(turn: Turn, tasks: Iterable[TaskState]) -> list[RedoChild]:
    """Return the redo requests for sub-flows that are due; a cancellation goes first."""
    uncancelled = set(turn.state.uncancelled)
    return [
        RedoChild(execution_id=child, task=task.name, order=task.child_redos)
        for task in tasks
        if task.redoing_child
        and (child := task.invoke.referenced_execution_id) is not None
        and child not in uncancelled
    ]
