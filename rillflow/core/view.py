"""The state in the form of Rill Flow's API (spec 3.20, 5.3); absent fields are omitted.

Owners' queries, completion callbacks and dry runs call it. It only reads the state.

Used by `core`, `runtime`, `serve` and `testing`.
"""

from collections.abc import Sequence
from typing import Any, Final

from rillflow.core.events import is_posted
from rillflow.core.plan import Plan, TaskPlan
from rillflow.core.redaction import redacted, redacted_part
from rillflow.core.state import (
    ExecutionState,
    InvokeMsg,
    Progress,
    RuleWarning,
    TaskState,
    TimeInfo,
)
from rillflow.core.status import COMPLETED, DAG_COMPLETED, TaskStatus
from rillflow.definition.model import WorkflowDefinition
from rillflow.errors import LanguageError, WorkLimitError
from rillflow.jsontypes import JsonObject, JsonValue, decode_json
from rillflow.language.budget import TotalBudget
from rillflow.language.expressions import DEFAULT_BUDGET
from rillflow.plain_words import task_message_in_plain_words

_NOTHING: tuple[None, list[Any]] = (None, [])


def execution_view(
    plan: Plan, state: ExecutionState, *, at_ms: int, brief: bool = False
) -> JsonObject:
    """Return the EXECUTION object of get.json; ``brief`` leaves the tasks out."""
    definition = plan.original
    view: JsonObject = {
        **_header(definition),
        "dag_invoke_msg": {**invoke_view(state.invoke, with_ours=True), **_routes(state)},
        "dag_status": state.status.name,
        "execution_id": state.execution_id,
        "process": progress(plan, state, at_ms),
        "context": state.context,
        "invoke_summary": {},
    }
    if state.callback is not None:
        view["dag_invoke_msg"] = {
            **invoke_view(state.invoke, with_ours=True),
            **_routes(state),
            "callback": redacted_part(state.callback),
        }
    if state.paused:
        view["paused"] = True
    if state.mapping_warnings:
        view["mapping_warnings"] = state.mapping_warnings
    if state.warnings:
        view["warnings"] = warnings_view(state.warnings)
    if not brief:
        view["tasks"] = {
            name: task_view(plan, state, state.tasks[name]) for name in plan.level.tasks
        }
    return view


def _header(definition: WorkflowDefinition) -> JsonObject:
    header: JsonObject = {
        "workspace": definition.workspace,
        "dag_name": definition.dag_name,
        "version": definition.version,
        "type": definition.type,
        "input_schema": definition.input_schema,
    }
    return {key: value for key, value in header.items() if value is not None}


def _routes(state: ExecutionState) -> JsonObject:
    if not state.route:
        return {}
    steps: list[JsonValue] = [
        {
            "index": index,
            "execution_id": step.execution_id,
            "task_info_name": step.task,
            "execution_type": step.pattern,
        }
        for index, step in enumerate(state.route)
    ]
    return {"dag_execution_routes": steps}


def children_view(plan: Plan, state: ExecutionState, parent: str, index: int) -> JsonObject | None:
    """Return the members of one group by instance name, None when there is no such group."""
    group = state.groups.get(f"{parent}_{index}")
    if group is None:
        return None
    return {name: task_view(plan, state, state.tasks[name]) for name in group.members}


def task_view(plan: Plan, state: ExecutionState, task: TaskState) -> JsonObject:
    """Return the TASK object of one instance."""
    task_plan = plan.by_name[task.base]
    prefix = f"{task.route}-" if task.route else ""
    groups = [state.groups[route] for route in task.routes]
    view: JsonObject = {
        "name": task.name,
        "status": status_name(task.status),
        "contains_sub": task_plan.spec.has_groups,
        "next": [prefix + name for name in task_plan.successors],
        "invoke_msg": invoke_view(task.invoke, with_ours=True),
        "sub_group_index_to_status": {str(g.index): g.status.name for g in groups},
        "sub_group_key_judgement_mapping": {},
        "sub_group_index_to_identity": {
            str(g.index): g.identity for g in groups if g.identity is not None
        },
        "task": task_definition(task_plan, state),
    }
    if task.progress is not None:
        view["progress"] = progress_view(task.progress)
    if task.log is not None:
        view["log"] = log_view(task.log)
    if task.warning_counts:
        view["mapping_warnings"] = task.mapping_warnings
        view["warnings"] = warnings_view(task.warnings)
    return view


def log_view(log: str) -> JsonObject:
    """Return the place of a log; of one that its function has posted, only that it has done so."""
    return {"posted": True} if is_posted(log) else _log(log)


def posted_log(task: TaskState) -> JsonObject | None:
    """Return the end of the log that the function of a task has posted."""
    return _log(task.log) if task.log is not None and is_posted(task.log) else None


def _log(text: str) -> JsonObject:
    log = decode_json(text.encode())
    return log if isinstance(log, dict) else {}


def progress_view(progress: Progress) -> JsonObject:
    """Return what an attempt has last said about its progress (an extension of Rillflow)."""
    view: JsonObject = {"time": progress.at_ms}
    if progress.fraction is not None:
        view["fraction"] = progress.fraction
    if progress.message:
        view["message"] = progress.message
    return view


def warnings_view(warnings: Sequence[RuleWarning]) -> JsonValue:
    """Return the mapping warnings (an extension of Rillflow)."""
    return [
        {
            "mappings": warning.field,
            "number": warning.number,
            "rule": warning.rule,
            "kind": warning.kind,
            "reason": warning.reason,
        }
        for warning in warnings
    ]


def status_name(status: TaskStatus) -> str:
    """Return a task's status as get.json spells it (spec Q15)."""
    return "SUCCEEDED" if status is TaskStatus.SUCCEED else status.name


def task_definition(plan: TaskPlan, state: ExecutionState) -> JsonObject:
    """Return the definition of a task with Rill Flow's keys, with the changes of this execution."""
    switch = state.degrades.get(plan.base)
    if switch is None:
        return plan.shown
    return {
        **plan.shown,
        "degrade": {"current": switch.current, "followings": switch.followings},
    }


_DUMPED: Final = {
    "invoke_id": "invokeId",
    "referenced_dag_execution_id": "referencedDAGExecutionId",
    "invoke_time_infos": "invokeTimeInfos",
    "progress_args": "progressArgs",
    "start_time": "startTime",
    "expected_cost": "expectedCost",
    "end_time": "endTime",
}


def invoke_view(invoke: InvokeMsg, *, with_ours: bool = False) -> JsonObject:
    """Return an ``invoke_msg`` object.

    ``with_ours`` adds fields that Rill Flow does not have: the error of each attempt and, as
    ``hint``, a plain sentence for a message of Rill Flow that has no other hint. Completion
    callbacks contain Rill Flow's fields only.
    """
    view: JsonObject = {
        "invoke_id": invoke.invoke_id,
        "code": invoke.code,
        "msg": invoke.msg,
        "input": redacted(invoke.input),
        "output": invoke.output,
        "referenced_dag_execution_id": invoke.referenced_execution_id,
        "invoke_time_infos": [_time_view(info, with_ours=with_ours) for info in invoke.time_infos],
        "invoke_times_left_out": (invoke.times_left_out or None) if with_ours else None,
        "progress_args": invoke.progress_args,
        "ext": ext_view(invoke),
        "hint": hint_of(invoke) if with_ours else invoke.hint,
    }
    return {key: value for key, value in view.items() if value not in _NOTHING}


def ext_view(invoke: InvokeMsg) -> JsonObject | None:
    """Return what is known of the task besides its outcome, masked; None where nothing is."""
    return redacted_part(invoke.ext or {}) or None


def hint_of(invoke: InvokeMsg) -> str | None:
    """Return the hint, or a plain sentence for a message of Rill Flow that has none."""
    if invoke.hint is None and invoke.msg is not None:
        return task_message_in_plain_words(invoke.msg)
    return invoke.hint


def _time_view(info: TimeInfo, *, with_ours: bool) -> JsonObject:
    view: JsonObject = {
        "start_time": info.start_ms,
        "expected_cost": info.expected_cost,
        "end_time": info.end_ms,
        "error": info.error if with_ours else None,
    }
    return {key: value for key, value in view.items() if value is not None}


def _camel(invoke: JsonObject) -> JsonObject:
    """Spell the names of an ``invoke_msg`` object as the dump does."""
    spelled = {_DUMPED.get(key, key): value for key, value in invoke.items()}
    times = invoke.get("invoke_time_infos")
    if isinstance(times, list):
        spelled["invokeTimeInfos"] = [
            {_DUMPED.get(key, key): value for key, value in time.items()}
            for time in times
            if isinstance(time, dict)
        ]
    return spelled


def dag_info(plan: Plan, state: ExecutionState) -> JsonObject:
    """Return the dump that a completion callback with ``fullDAGInfo`` carries."""
    tasks: JsonObject = {
        name: {
            "name": name,
            "status": state.tasks[name].status.name,
            "task": task_definition(task_plan, state),
            "taskInvokeMsg": _camel(invoke_view(state.tasks[name].invoke)),
        }
        for name, task_plan in plan.level.tasks.items()
    }
    definition = plan.shown.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {
        "executionId": state.execution_id,
        "dag": redacted_part(definition),
        "dagInvokeMsg": _camel(invoke_view(state.invoke)),
        "dagStatus": state.status.name.lower(),
        "tasks": tasks,
    }


def progress(plan: Plan, state: ExecutionState, at_ms: int) -> int:
    """Return the progress of an execution, 0 to 100, by the weights of its top-level tasks.

    All calculations together may take the budget of one expression; beyond it, tasks are counted.
    """
    if DAG_COMPLETED[state.status]:
        return 100
    tasks = [state.tasks[name] for name in plan.level.tasks]
    if not tasks:
        return 0
    budget = TotalBudget(DEFAULT_BUDGET.steps, DEFAULT_BUDGET.memory_bytes)
    try:
        weights = [_weight(plan.by_name[task.base]) for task in tasks]
        done = sum(
            weight * _fraction(plan.by_name[task.base], state, task, at_ms, budget)
            for weight, task in zip(weights, tasks, strict=True)
        )
        return int(done / sum(weights) * 100)
    except (LanguageError, WorkLimitError, ValueError, ZeroDivisionError, OverflowError):
        return 100 * sum(COMPLETED[task.status] for task in tasks) // len(tasks)


def _weight(plan: TaskPlan) -> int:
    return plan.spec.progress.weight if plan.spec.progress else 1


def _fraction(
    plan: TaskPlan, state: ExecutionState, task: TaskState, at_ms: int, budget: TotalBudget
) -> float:
    if COMPLETED[task.status]:
        return 1.0
    calculation = plan.calculation(budget)
    if calculation is not None:
        infos = task.invoke.time_infos
        running_ms = at_ms - infos[-1].start_ms if infos else 0
        value = calculation.evaluate(
            {"params": task.invoke.progress_args or {}, "taskRunningTimeInMillis": running_ms},
            total=budget,
        )
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError(f"progress.calculation gives no number but a {type(value).__name__}")
        return float(value)
    if task.progress is not None and task.progress.fraction is not None:
        return task.progress.fraction
    if task.routes:
        finished = sum(COMPLETED[state.groups[route].status] for route in task.routes)
        return finished / task.group_count
    return 0.0
