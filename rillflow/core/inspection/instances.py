"""One task instance, a part of a context, and the list of waits.

Used by `core/inspection`.
"""

from itertools import islice
from typing import Final

from rillflow.core import status as core
from rillflow.core.inspection.cutting import cut, page_of
from rillflow.core.inspection.graphs import group_view, is_degraded
from rillflow.core.inspection.overview import wait_view
from rillflow.core.inspection.reasons import explained_warnings
from rillflow.core.inspection.waits import Waits
from rillflow.core.plan import Plan
from rillflow.core.redaction import redacted
from rillflow.core.state import ExecutionState, TaskState
from rillflow.core.status import COMPLETED
from rillflow.core.view import ext_view, hint_of, progress_view, task_definition
from rillflow.definition.model import FunctionTask, SuspenseTask
from rillflow.jsontypes import JsonObject, JsonValue
from rillflow.plain_words import task_message_in_plain_words

_LONGEST_TEXT: Final = 4_096


def instance(plan: Plan, state: ExecutionState, at_ms: int, *, name: str) -> JsonObject | None:
    """Return one task instance, its values cut and masked; None if there is no such instance."""
    task = state.tasks.get(name)
    if task is None:
        return None
    waits = Waits(plan, state)
    task_plan = plan.by_name[task.base]
    prefix = f"{task.route}-" if task.route else ""
    invoke = task.invoke
    return {
        "name": task.name,
        "base": task.base,
        "route": task.route,
        "category": task_plan.category,
        "status": waits.statuses.of_task(task),
        "degraded": is_degraded(state, task, task_plan),
        "caught": task.caught,
        "seq": state.seq,
        "at_ms": at_ms,
        "definition": cut(task_definition(task_plan, state)),
        "input": redacted(cut(invoke.input)),  # what is cut away need not be masked
        "output": cut(invoke.output),
        "message": _text(invoke.msg),
        "code": invoke.code,
        "hint": _text(hint_of(invoke)),
        "ext": cut(ext_view(invoke)),
        "progress_args": cut(invoke.progress_args),
        "progress": None if task.progress is None else progress_view(task.progress),
        "attempts": _attempts(task),
        "attempts_left_out": invoke.times_left_out,
        "mapping_warnings": task.mapping_warnings,
        "warnings": explained_warnings(task.warnings),
        "wait": wait_view(waits.of_task(task), at_ms),
        "callback_url": _callback_url(plan, state, task),
        "sub_flow": invoke.referenced_execution_id,
        "dependencies": [prefix + each for each in task_plan.dependencies],
        "successors": [prefix + each for each in task_plan.successors],
        "group": group_view(state, waits, task, task_plan),
        "sentence": None if invoke.msg is None else task_message_in_plain_words(invoke.msg),
    }


def context_part(
    state: ExecutionState, *, route: str, pointer: str, offset: int
) -> JsonObject | None:
    """Return a part of the context of the execution, or of a group; None if there is none."""
    context: JsonValue = state.context
    if route:
        group = state.groups.get(route)
        if group is None:
            return None
        context = group.context
    page = page_of(context, pointer, offset)
    if not page.found:
        return None
    return {
        "seq": state.seq,
        "route": route,
        "path": pointer,
        "offset": page.offset,
        **page.size,
        "value": page.value,
        "next_offset": page.next_offset,
    }


def waits_of(  # noqa: PLR0913 - the parameters of the route
    plan: Plan, state: ExecutionState, at_ms: int, *, name: str, offset: int, limit: int
) -> JsonObject | None:
    """Return the waits of an execution, or of one instance; None if there is no such instance."""
    waits = Waits(plan, state)
    answer: JsonObject = {"seq": state.seq, "at_ms": at_ms}
    if name:
        task = state.tasks.get(name)
        if task is None:
            return None
        wait = waits.of_task(task)
        return {**answer, "waits": [] if wait is None else [wait_view(wait, at_ms)], "next": None}
    found = list(islice(waits.all(), offset, offset + limit + 1))
    return {
        **answer,
        "waits": [wait_view(wait, at_ms) for wait in found[:limit]],
        "next": str(offset + limit) if len(found) > limit else None,
    }


def _attempts(task: TaskState) -> list[JsonValue]:
    infos = task.invoke.time_infos
    first = len(infos) if not task.invoke.times_left_out else len(infos) // 2
    shown: list[JsonValue] = []
    for at, info in enumerate(infos):
        number = at + 1 if at < first else at + 1 + task.invoke.times_left_out
        shown.append(
            {
                "number": number,
                "started_ms": info.start_ms,
                "ended_ms": info.end_ms,
                "expected_ms": info.expected_cost,
                "error": info.error,
            }
        )
    return shown


def _callback_url(plan: Plan, state: ExecutionState, task: TaskState) -> str | None:
    """Return the address for the outcome of a task that waits for a callback or a wake-up."""
    spec = plan.by_name[task.base].spec
    waits = not COMPLETED[task.status] and task.status is not core.NOT_STARTED
    is_called_back = isinstance(spec, SuspenseTask) or (
        isinstance(spec, FunctionTask) and spec.pattern in {"task_async", "task_scheduler"}
    )
    if not waits or not is_called_back:
        return None
    query = f"execution_id={state.execution_id}&task_name={task.name}"
    return f"{state.host}/flow/trigger.json?{query}"


def _text(value: JsonValue) -> JsonValue:
    return value[:_LONGEST_TEXT] if isinstance(value, str) else value
