"""The state machine of an execution: the entry points of the core.

Owners call ``submit``, ``handle`` and ``outstanding``; so do replay, recovery and dry runs. Its
rules:

* All changes of the state happen here and in the modules below, one event at a time.
* An event is accepted, ignored or refused. A refused event raises and leaves the state as it was,
  except that a task keeps why a callback or signal could not be applied. An ignored event
  (``changed`` is False) leaves the state as it was and raises nothing.
* Replaying the accepted events gives the same state and the same commands.
* A command is outstanding until an event answers it; ``outstanding`` derives the
  unanswered ones from the state alone.
* Times come from events. Random numbers come from the execution's id and the number of the event.

Used by `core`, `runtime` and `testing`.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import msgspec

from rillflow.core import ending, mapping_warnings, requests, timing, traversal
from rillflow.core.agenda import REMAINING
from rillflow.core.commands import CancelChild, Command, SetTimer
from rillflow.core.encoding.stored_context import stored_context
from rillflow.core.events import (
    CallbackReceived,
    CancelRequested,
    CompletionRequested,
    DegradeRequested,
    DispatchAnswered,
    Event,
    ExecutionSubmitted,
    NoticeDelivered,
    PauseRequested,
    ProgressReported,
    RedoRequested,
    ResumeRequested,
    TimerFired,
    WakeUpReceived,
)
from rillflow.core.mapping_warnings import Application
from rillflow.core.plan import Plan
from rillflow.core.redo import reopening
from rillflow.core.redo import requested as redo
from rillflow.core.state import ExecutionState, TaskState
from rillflow.core.status import RUNNING, DagStatus
from rillflow.core.tasks import function_tasks, groups, polling
from rillflow.core.tasks.progress import keep_log
from rillflow.core.transitions import TAKE, task_transitions
from rillflow.core.turn import Turn, timers_of
from rillflow.definition import initial_context
from rillflow.errors import ExecutionError
from rillflow.ids_of_others import as_told_to
from rillflow.jsontypes import JsonObject, decode_json
from rillflow.language.budget import TotalBudget
from rillflow.language.versions import IDS_OF_OTHERS_HIDDEN

Turns: TypeAlias = Callable[[Plan, ExecutionState, int], Turn]
"""Makes the turn of an event at a time; a replay has one that notes more."""


class Handled(msgspec.Struct, frozen=True):
    """The result of an event: commands to carry out, and whether the state changed.

    ``mapped`` are applications of mappings with rules that have no effect now, or had none before.
    ``steps`` is what the turn has taken of its budget, which a replay takes too. ``refusal`` is set
    if a callback or signal could not be applied: its sender gets this error, and only the reason
    was recorded.
    """

    commands: list[Command]
    changed: bool = True
    mapped: Sequence[Application] = ()
    steps: int = 0
    refusal: ExecutionError | None = None


def submit(
    plan: Plan, event: ExecutionSubmitted, turns: Turns = Turn
) -> tuple[ExecutionState, Handled]:
    """Create an execution and start it (spec 3.4).

    Raises:
        ExecutionError: The submitted data cannot be kept (30505), or the definition has more
            tasks than an execution may have (30507).
    """
    callback = decode_json(event.callback) if event.callback else None
    state = ExecutionState(
        execution_id=event.execution_id,
        definition_id=event.definition_id,
        host=event.host,
        status=DagStatus.RUNNING,
        parent=event.parent,
        route=event.route,
        dedicated=event.dedicated,
        uid=event.uid,
        context_max_bytes=event.context_max_bytes,
        foreach_max_items=event.foreach_max_items,
        expected_callback_s=event.expected_callback_s,
        id_key=event.id_key,
        max_descendants=event.max_descendants,
        strict_mappings=event.strict_mappings,
        language=event.language,
        turn_max_steps=event.turn_max_steps,
        turn_max_bytes=event.turn_max_bytes,
        turn_max_task_steps=event.turn_max_task_steps,
        execution_max_tasks=event.execution_max_tasks,
        foreach_in_portions=event.foreach_in_portions,
        callback=callback if isinstance(callback, dict) else None,
        trace=event.trace,
    )
    budget = TotalBudget(None, None, event.language)
    state.context = stored_context(_context_of(plan, event), {}, state.context_max_bytes, budget)
    state.context_bytes = budget.made_bytes
    state.invoke.begin_time(event.at_ms)
    turn = turns(plan, state, event.at_ms)
    _refuse_wide(plan, state)
    turn.instantiate("", plan.level)
    if plan.definition.timeline is not None:
        timing.arm_execution_timeout(turn)
    turn.open_scope("")
    traversal.drain(turn)
    if turn.mapped:
        mapping_warnings.keep(state, turn.mapped)
    state.seq = 1
    state.made_bytes = turn.budget.made_bytes
    return state, Handled(turn.commands, mapped=turn.mapped, steps=turn.budget.spent_steps)


def _refuse_wide(plan: Plan, state: ExecutionState) -> None:
    most = state.execution_max_tasks
    if most is not None and len(plan.level.tasks) > most:
        groups.refuse_too_many(state, groups=0, tasks=len(plan.level.tasks))


def _context_of(plan: Plan, event: ExecutionSubmitted) -> JsonObject:
    """Return the context that an execution begins with: its data, and the defaults."""
    data = decode_json(event.data)
    context = dict(data) if isinstance(data, dict) else {}
    if plan.original.default_context:
        context = initial_context(plan.original, context)
    context["flow_execution_id"] = event.execution_id
    if event.route:
        context.setdefault("flow_root_execution_id", _root_of(event))
    if event.trace is not None and event.trace.is_sampled:
        context["traceId"] = event.trace.trace_id
    return context


def _root_of(event: ExecutionSubmitted) -> str:
    """Return the id of the outermost execution, hidden if that is of another workspace."""
    root = event.route[0].execution_id
    if event.language < IDS_OF_OTHERS_HIDDEN:
        return root
    return as_told_to(event.execution_id, root.encode()).decode()


def handle(plan: Plan, state: ExecutionState, event: Event, turns: Turns = Turn) -> Handled:
    """Handle an event after the first.

    Raises:
        ExecutionError: The event is refused; the state is as it was.
        RequestError: The event names something that does not exist.
    """
    turn = turns(plan, state, event.at_ms)
    if not _take(turn, event):
        return Handled([], changed=False)
    if state.remaining is not None:
        traversal.take_up(turn, state.remaining)
    traversal.drain(turn)
    if turn.mapped:
        mapping_warnings.keep(state, turn.mapped)
    state.seq += 1
    state.made_bytes += turn.budget.made_bytes
    return Handled(
        turn.commands,
        mapped=turn.mapped,
        steps=turn.budget.spent_steps,
        refusal=turn.refusal,
    )


def awaits_callback(plan: Plan, state: ExecutionState, event: CallbackReceived) -> bool:
    """Tell whether a callback would be taken, whatever its outcome is; nothing changes.

    Raises:
        ExecutionError: It would be refused.
        RequestError: It names something that does not exist.
    """
    return requests.awaits_callback(Turn(plan, state, event.at_ms), event)


def _take(turn: Turn, event: Event) -> bool:  # noqa: C901, PLR0911, PLR0912 - one arm for each event
    match event:
        case DispatchAnswered():
            return _dispatch_answered(turn, event)
        case CallbackReceived():
            return requests.callback_received(turn, event)
        case ProgressReported():
            return requests.progress_reported(turn, event)
        case TimerFired():
            return timing.timer_fired(turn, event)
        case WakeUpReceived():
            requests.wake_up_received(turn, event)
        case RedoRequested():
            requests.refuse_stranger(turn, event.parent)
            return redo.redo_requested(turn, event)
        case DegradeRequested():
            requests.degrade_requested(turn, event)
        case CompletionRequested():
            requests.completion_requested(turn, event)
        case CancelRequested():
            requests.cancel_requested(turn, event)
        case PauseRequested():
            requests.pause_requested(turn, event)
        case ResumeRequested():
            requests.resume_requested(turn)
        case NoticeDelivered():
            return _notice_delivered(turn, event)
        case _:
            return _submitted_again(event)
    return True


def _submitted_again(_event: ExecutionSubmitted) -> bool:
    """Handle a repeated submission, the only event without an arm of its own."""
    return False


def _notice_delivered(turn: Turn, event: NoticeDelivered) -> bool:
    """Record a delivered notice; a delivered cancellation may allow a redo to go out."""
    if event.kind == "redo":
        return reopening.child_order_delivered(turn, event)
    if not ending.notice_delivered(turn.state, event):
        return False
    if event.kind == "cancel" and not turn.over:
        tasks = turn.state.tasks.values()
        freed = (task for task in tasks if task.invoke.referenced_execution_id == event.child)
        turn.commands.extend(ending.child_orders(turn, freed))
    return True


def _dispatch_answered(turn: Turn, event: DispatchAnswered) -> bool:
    task = turn.state.tasks.get(event.task)
    if task is None or not task.in_flight or task.attempt != event.attempt:
        return False
    if task_transitions(turn.state).answer[task.status] is not TAKE:
        return False
    if event.poll is not None and event.poll != polling.under_way(task):
        return False
    if event.log is not None:
        keep_log(task, event.log)
    if task.poll_url is not None:
        polling.answered(turn, task, event)
    else:
        function_tasks.answer_arrived(turn, task, event)
        if event.error is None and task.status is RUNNING:
            polling.accepted(turn, task, event)
    if turn.state.cancelled:
        ending.cancel_children(turn, [task])
    return True


def outstanding(plan: Plan, state: ExecutionState) -> Iterator[Command]:
    """Yield the commands that no event has answered yet, as they were first returned."""
    turn = Turn(plan, state, 0)
    if not turn.over:
        if state.timeout_due_ms is not None:
            yield SetTimer(kind="dag", task="", due_ms=state.timeout_due_ms)
        if state.remaining is not None:
            yield SetTimer(kind=REMAINING, task="", due_ms=state.remaining.due_ms)
        for task in state.tasks.values():
            yield from _outstanding_of(turn, task)
        yield from ending.child_orders(turn, state.tasks.values())
    yield from ending.parent_commands(state)
    for child in state.uncancelled:
        yield CancelChild(execution_id=child)
    if state.completion is not None:
        yield ending.completion_command(plan, state)


def waits_for_others_only(plan: Plan, state: ExecutionState) -> bool:
    """Tell whether no command is outstanding, so that a restart would have nothing to do."""
    return next(outstanding(plan, state), None) is None


def _outstanding_of(turn: Turn, task: TaskState) -> Iterator[Command]:
    if task.in_flight:
        yield polling.call_under_way(turn, task)
    yield from timers_of(task)
