"""Tasks that call no function: pass, return, switch and suspense (spec 3.9).

Also what all tasks share: output mappings, success, failure and time-outs.

Used by `core`, `core/redo` and `core/tasks`.
"""

from collections.abc import Sequence

from rillflow.core.mapping_warnings import leave_out_awaited
from rillflow.core.plan import SwitchPlan, TaskPlan
from rillflow.core.state import TaskState
from rillflow.core.status import FAILED, RUNNING, SKIPPED, SUCCEED
from rillflow.core.turn import Turn, value_of
from rillflow.definition.model import ReturnTask, SuspenseTask, SwitchTask
from rillflow.errors import ExecutionError, LanguageError
from rillflow.jsontypes import JsonObject
from rillflow.language.budget import TotalBudget
from rillflow.language.mapping.conditions import all_hold, any_holds, holds
from rillflow.language.text.literals import whole_number
from rillflow.language.versions import STRICT_OF_LISTS_AND_SUB_FLOWS


def run_pass(turn: Turn, task: TaskState, plan: TaskPlan, document: JsonObject) -> None:
    """Copy values: the output of a pass is its input."""
    map_output(turn, task, plan, document)
    succeed(turn, task)


def map_output(turn: Turn, task: TaskState, plan: TaskPlan, output: JsonObject) -> None:
    """Apply the output mappings of a task and keep the context.

    Raises:
        LanguageError: A rule with ``tolerance: false`` failed; nothing was kept.
        ExecutionError: The result cannot be kept (30505).
    """
    context, _ = turn.apply(task, plan.outputs, output, excused=task.applied_at_start)
    turn.save_context(task, context)


def map_first_output(turn: Turn, task: TaskState, plan: TaskPlan, output: JsonObject) -> None:
    """Apply output mappings that will be applied once more, at the outcome of the task.

    Rules without effect are neither reported nor failures of a strict execution here: the second
    application decides. Rules that have an effect here need have none there.

    Raises:
        LanguageError: A rule with ``tolerance: false`` failed; nothing was kept.
        ExecutionError: The result cannot be kept (30505).
    """
    if turn.state.language < STRICT_OF_LISTS_AND_SUB_FLOWS:
        map_output(turn, task, plan, output)
        return
    context, mapped = turn.apply_untold(task, plan.outputs, output)
    turn.save_context(task, context)
    task.applied_at_start = plan.outputs.effective(mapped)


def succeed(turn: Turn, task: TaskState, msg: str | None = None) -> None:
    """End a task with success and start what follows."""
    if msg is not None:
        task.invoke.msg = msg
    infos = task.invoke.time_infos
    if infos and infos[-1].error is not None:
        infos[-1].error = None
    turn.finish_task(task, SUCCEED)


def fail(turn: Turn, task: TaskState, plan: TaskPlan, message: str) -> None:
    """End a task because running it raised an error; such errors are not retried."""
    task.invoke.msg = task.invoke.msg or message
    task.invoke.note_error(message)
    end_failed(turn, task, None, tolerated=plan.spec.tolerance)


def end_failed(turn: Turn, task: TaskState, message: str | None, *, tolerated: bool) -> None:
    """End a task with failure: FAILED, or SKIPPED if the failure is tolerated or caught."""
    if message is not None:
        task.invoke.msg = message
        task.invoke.note_error(message)
    elif turn.plan_of(task).spec.has_groups:
        task.invoke.note_error(task.invoke.msg)
    task.invoke.close_failed()
    if turn.plan_of(task).catch:
        task.caught = tolerated = True
    turn.finish_task(task, SKIPPED if tolerated else FAILED)


def run_return(turn: Turn, task: TaskState, plan: TaskPlan, document: JsonObject) -> None:
    """Skip the successors when all conditions hold, else skip itself and go on."""
    if _all(turn, plan.spec_as(ReturnTask).conditions, document):
        task.skip_successors(plan.bits_of(plan.successors))
        succeed(turn, task)
        return
    turn.finish_task(task, SKIPPED)


def _all(turn: Turn, conditions: Sequence[str] | None, document: JsonObject) -> bool:
    if conditions is None:
        raise ExecutionError("conditions can not be null")
    return all_hold(conditions, {"input": document}, turn.budget)


def run_switch(turn: Turn, task: TaskState, plan: TaskPlan, document: JsonObject) -> None:
    """Let the chosen successors run and skip the others."""
    if not plan.spec_as(SwitchTask).switches:
        succeed(turn, task, "switches collection empty")
        return
    run = _chosen(plan.switch, {"input": document}, turn.budget)
    task.skip_successors(plan.switch.named & ~run)
    succeed(turn, task)


def _chosen(switch: SwitchPlan, document: JsonObject, budget: TotalBudget) -> int:
    """Return the set of the successors that a switch runs."""
    run = 0
    found = False
    for condition, successors, is_last in switch.entries:
        if _holds(condition, document, budget):
            found = True
            run |= successors
            if is_last:
                break
    return run if found else switch.default


def _holds(condition: str, document: JsonObject, budget: TotalBudget) -> bool:
    try:
        return holds(condition, document, budget)
    except LanguageError:
        return False


def run_suspense(turn: Turn, task: TaskState, plan: TaskPlan, document: JsonObject) -> None:
    """Wait until the conditions hold; they may hold at once."""
    turn.set_status(task, RUNNING)
    if check_suspense(turn, task, plan, document):
        return
    arm_timeout(turn, task, plan, document)


def check_suspense(turn: Turn, task: TaskState, plan: TaskPlan, document: JsonObject) -> bool:
    """End a waiting suspense task when its conditions or interruptions say so.

    Raises:
        LanguageError: A condition cannot be evaluated.
        ExecutionError: The task has no conditions.
    """
    spec = plan.spec_as(SuspenseTask)
    if _all(turn, spec.conditions, document):
        succeed(turn, task)
        return True
    if any_holds(spec.interruptions or (), {"input": document}, turn.budget):
        end_failed(turn, task, "interruption", tolerated=False)
        return True
    # A value that a wake-up may still bring is not reported as missing.
    leave_out_awaited(turn.mapped, task.name)
    return False


def arm_timeout(turn: Turn, task: TaskState, plan: TaskPlan, document: JsonObject) -> None:
    """Set the task's time-out, counted from now, when its timeline has one."""
    limit_s = timeout_s(plan, document, turn.budget)
    if limit_s is not None:
        set_timeout(turn, task, limit_s)


def set_timeout(turn: Turn, task: TaskState, limit_s: int) -> None:
    """Set a time-out, counted from now."""
    turn.set_timer("timeout", task, turn.at_ms + limit_s * 1000)


def timeout_s(
    plan: TaskPlan, document: JsonObject, budget: TotalBudget | None = None
) -> int | None:
    """Return the task's time-out in seconds, None if it has none, or none above zero.

    Raises:
        WorkLimitError: Nothing is left of the budget.
    """
    timeline = plan.spec.timeline
    if timeline is None or timeline.timeout_s is None:
        return None
    try:
        limit_s = whole_number(value_of(timeline.timeout_s, {"input": document}, budget))
    except LanguageError:
        return None
    return limit_s if limit_s is not None and limit_s > 0 else None
