"""An execution as a whole: the summary that a list shows beside its row, and its header.

Used by `core/inspection`.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from rillflow.core import status as core
from rillflow.core.inspection.reasons import explained_warnings
from rillflow.core.inspection.sentences import sentence
from rillflow.core.inspection.statuses import Status
from rillflow.core.inspection.waits import Wait, Waits, failure_of
from rillflow.core.plan import Plan
from rillflow.core.state import ExecutionState, TaskState, TimeInfo
from rillflow.core.status import COMPLETED, DAG_COMPLETED, DagStatus
from rillflow.core.view import invoke_view
from rillflow.jsontypes import JsonObject, JsonValue
from rillflow.plain_words import task_message_in_plain_words

_MOST_STEPS: Final = 50
"""How many levels of sub-flows above an execution are shown."""
_MOST_LOOKED_AT: Final = 500
"""How many tasks of the top level are looked at for a failure that is being retried."""


def summary(plan: Plan, state: ExecutionState, at_ms: int) -> JsonObject:
    """Return what a list shows of an execution; its cost does not depend on the execution's size.

    Only tasks of the top level are read, and a limited number of groups.
    """
    waits = Waits(plan, state)
    infos = state.invoke.time_infos
    return {
        "status": waits.statuses.of_execution(),
        "seq": state.seq,
        "progress": progress_of(plan, state),
        "paused": state.paused,
        "paused_ms": state.paused_ms,
        "paused_by": state.paused_by,
        "key_succeeded": state.status is DagStatus.KEY_SUCCEED,
        "wait": wait_view(waits.of_execution(), at_ms),
        "failure": _failure(plan, state),
        "mapping_warnings": state.mapping_warnings,
        "started_ms": infos[0].start_ms if infos else None,
        "ended_ms": infos[-1].end_ms if infos else None,
        "idle_ms": idle_ms(state, infos),
    }


def header(plan: Plan, state: ExecutionState, at_ms: int) -> JsonObject:
    """Return what a page about one execution shows above everything else."""
    definition = plan.original
    shown = invoke_view(state.invoke, with_ours=True)
    counts = Counter(map(Waits(plan, state).statuses.of_task, state.tasks.values()))
    parent = state.parent
    return {
        **summary(plan, state, at_ms),
        "execution_id": state.execution_id,
        "business": definition.workspace,
        "feature": definition.dag_name,
        "definition_id": state.definition_id,
        "at_ms": at_ms,
        "timeout_due_ms": state.timeout_due_ms,
        "cancelled": state.cancelled,
        "cancelled_by": state.cancelled_by,
        "redone": state.redone,
        "dedicated": state.dedicated,
        "strict": plan.strict or state.strict_mappings,
        "language": state.language,
        "uid": state.uid,
        "trigger": "request" if parent is None else "sub_flow",
        "parent": None
        if parent is None
        else {"execution_id": parent.execution_id, "task": parent.task, "pattern": parent.pattern},
        "route": [
            {"execution_id": step.execution_id, "task": step.task, "pattern": step.pattern}
            for step in state.route[-_MOST_STEPS:]
        ],
        "tasks": {str(status): counts[status] for status in Status if counts[status]},
        "message": shown.get("msg"),
        "code": shown.get("code"),
        "hint": shown.get("hint"),
        "warnings": explained_warnings(state.warnings),
    }


def progress_of(plan: Plan, state: ExecutionState) -> JsonObject:
    """Count the tasks of the top level, and those that have ended."""
    done = sum(state.counts[status] for status in core.TaskStatus if COMPLETED[status])
    return {"done": done, "total": len(plan.level.tasks)}


def wait_view(wait: Wait | None, at_ms: int) -> JsonValue:
    """Return a wait with its sentence; None for none."""
    if wait is None:
        return None
    return {
        "task": wait.task,
        "base": wait.base,
        "status": wait.status,
        "kind": wait.kind,
        "since_ms": wait.since_ms,
        "until_ms": wait.until_ms,
        "detail": wait.detail,
        "actions": list(wait.actions),
        "sentence": sentence(wait, at_ms),
    }


def in_quarantine(reason: str) -> JsonObject:
    """Return what a summary shows of an execution that is not run any more, for a reason."""
    wait = Wait(
        task="",
        base="",
        status=Status.HELD,
        kind="quarantine",
        detail={"reason": reason},
        actions=("redo", "cancel"),
    )
    return {"status": Status.HELD, "wait": wait_view(wait, 0)}


def idle_ms(state: ExecutionState, infos: Sequence[TimeInfo]) -> int:
    """Return for how long, between these attempts, the execution had ended before a redo."""
    runs = state.invoke.time_infos
    if len(runs) < 2 or len(infos) < 2:
        return 0
    begun_ms, last_ms = infos[0].start_ms, infos[-1].start_ms
    gaps = ((one.end_ms, following.start_ms) for one, following in pairwise(runs))
    return sum(
        max(min(until_ms, last_ms) - max(from_ms, begun_ms), 0)
        for from_ms, until_ms in gaps
        if from_ms is not None
    )


def _failure(plan: Plan, state: ExecutionState) -> JsonObject | None:
    """Return the failure of an execution: the one that ended it, else one that is being retried."""
    failed = _failed_task(plan, state)
    if state.status is DagStatus.FAILED:
        message = state.invoke.msg
        named = failed and _named(state, failed, message)
        if named is not None:
            return failure_of(named)
        said = None if message is None else task_message_in_plain_words(message)
        own: JsonObject = {"task": "", "base": "", "code": state.invoke.code}
        return own | {"message": message, "hint": state.invoke.hint, "sentence": said}
    return None if failed is None or DAG_COMPLETED[state.status] else failure_of(failed)


def _named(state: ExecutionState, failed: TaskState, message: str | None) -> TaskState | None:
    """Return the task whose message is that of the execution; None where it has its own.

    It is the innermost one, or a task around it: the groups of a foreach may fail differently, and
    what ends the execution is then the message of the foreach.
    """
    around: TaskState | None = failed
    while around is not None and message not in {None, around.invoke.msg}:
        around = state.tasks[state.groups[around.route].parent] if around.route else None
    return around


def _failed_task(plan: Plan, state: ExecutionState) -> TaskState | None:
    """Return the first failed task of the top level, in its groups the one that failed first."""
    retried: TaskState | None = None
    for number, name in enumerate(plan.level.tasks):
        task = state.tasks.get(name)
        if task is None or number > _MOST_LOOKED_AT:
            break
        if task.status is core.FAILED:
            return _innermost(state, task)
        infos = task.invoke.time_infos
        if retried is None and not COMPLETED[task.status] and any(info.error for info in infos):
            retried = task
    return retried


def _innermost(state: ExecutionState, task: TaskState) -> TaskState:
    """Return the failed member of a failed group, as deep as the failure lies."""
    for route in task.routes[:_MOST_LOOKED_AT]:
        group = state.groups[route]
        if group.status is core.FAILED:
            for name in group.members[:_MOST_LOOKED_AT]:
                if state.tasks[name].status is core.FAILED:
                    return _innermost(state, state.tasks[name])
    return task
