"""Reading an execution, and the answers for one that does not exist (spec 3.11, 5.3).

Used by `runtime/owner/call_handling.py`, `runtime/owner/views.py` and `runtime/stack.py`.
"""

from collections.abc import Callable
from typing import Final

from rillflow.core.events import (
    CallbackReceived,
    CompletionRequested,
    Event,
    ProgressReported,
    RedoRequested,
)
from rillflow.core.inspection.overview import in_quarantine
from rillflow.core.inspection.views import SUMMARY, inspect
from rillflow.core.state import ExecutionState
from rillflow.core.view import children_view, execution_view, log_view, posted_log, task_view
from rillflow.errors import (
    ExecutionError,
    RequestError,
    RillflowError,
    SetApartError,
    UnknownExecutionError,
)
from rillflow.ids import ExecutionId, service_of
from rillflow.jsontypes import JsonObject, JsonValue, encode_json
from rillflow.ports.executions import Call, Query, Reply, Submission, reply_to_error
from rillflow.runtime.activation.active_execution import ActiveExecution

DAG_NOT_FOUND = 30602
EXECUTION_NOT_FOUND = 30605
_SHOWN_WHEN_SET_APART = frozenset({"execution", "brief", "status", SUMMARY, "header"})
_SHOW_QUARANTINE = frozenset({"execution", "brief", SUMMARY, "header"})
_SHOW_HOLDER: Final = frozenset({"execution", "header", "waits"})
_OF_STATE: Final[dict[str, Callable[[ExecutionState], JsonValue]]] = {
    "context": lambda state: state.context,
    "status": lambda state: {"dag_status": state.status.name},
    "route": lambda state: [step.execution_id for step in state.route],
}


def answer_query(
    query: Query,
    execution: ActiveExecution | None,
    at_ms: int,
    *,
    quarantine: str | None = None,
    holder: JsonObject | None = None,
) -> Reply:
    """Answer a query as JSON; the body is None for what does not exist.

    ``quarantine`` says why an execution is not run any more, and ``holder`` where it is held.
    """
    if execution is None:
        return Reply(changed=False)
    value = value_of(query, execution, at_ms, quarantine, holder)
    return Reply(changed=False, body=None if value is None else encode_json(value))


def value_of(
    query: Query,
    execution: ActiveExecution,
    at_ms: int,
    quarantine: str | None,
    holder: JsonObject | None = None,
) -> JsonValue:
    """Return the value of a query, None for what does not exist."""
    if query.inspected is None:
        value = _read(query, execution, at_ms)
    else:
        asked = dict(query.inspected)
        value = inspect(query.kind, execution.plan, execution.state, at_ms, asked)
    if quarantine and isinstance(value, dict) and query.kind in _SHOW_QUARANTINE:
        held = in_quarantine(quarantine) if query.inspected is not None else {}
        value = {**value, **held, "quarantine": quarantine}
    if holder and isinstance(value, dict) and query.kind in _SHOW_HOLDER and not execution.over:
        value = {**value, "holder": holder}
    return value


def answer_set_apart(call: Call, error: SetApartError) -> Reply:
    """Answer a call to an execution that must not be read, from its row in listings."""
    if isinstance(call, Submission) and error.status is not None:
        return Reply(changed=False)
    if not isinstance(call, Query) or call.kind not in _SHOWN_WHEN_SET_APART:
        return reply_to_error(error)
    if error.status is None:
        return Reply(changed=False)
    business, feature = service_of(call.execution_id)
    if call.inspected is not None:
        return Reply(changed=False, body=encode_json(_inspected_apart(call.execution_id, error)))
    view: JsonObject = {"dag_status": error.status}
    if call.kind != "status":
        view |= {
            "workspace": business,
            "dag_name": feature,
            "execution_id": call.execution_id,
            "dag_invoke_msg": {},
            "process": 0,
            "context": {},
            "invoke_summary": {},
            "quarantine": error.reason,
        }
    if call.kind == "execution":
        view["tasks"] = {}
    return Reply(changed=False, body=encode_json(view))


def _inspected_apart(execution_id: ExecutionId, error: SetApartError) -> JsonObject:
    business, feature = service_of(execution_id)
    return {
        "execution_id": execution_id,
        "business": business,
        "feature": feature,
        "seq": 0,
        **in_quarantine(error.reason),
        "quarantine": error.reason,
    }


def _read(query: Query, execution: ActiveExecution, at_ms: int) -> JsonValue:
    plan, state = execution.plan, execution.state
    if query.kind in _OF_STATE:
        return _OF_STATE[query.kind](state)
    if query.kind == "sub_context":
        group = state.groups.get(f"{query.parent}_{query.index}")
        return None if group is None else group.context
    if query.kind == "children":
        return children_view(plan, state, query.parent, query.index)
    if query.kind == "task":
        return _instance(execution, query.parent)
    if query.kind == "log":
        return _log(execution, query.parent)
    return execution_view(plan, state, at_ms=at_ms, brief=query.kind == "brief")


def _log(execution: ActiveExecution, name: str) -> JsonValue:
    """Return the place of what the function of an instance has printed, without its data."""
    task = execution.state.tasks.get(name)
    if task is None or task.log is None:
        return {}
    return {"log": posted_log(task) or log_view(task.log)}


def _instance(execution: ActiveExecution, name: str) -> JsonValue:
    """Return an instance with the context that its mappings see."""
    state = execution.state
    task = state.tasks.get(name)
    if task is None:
        return None
    context = state.groups[task.route].context if task.route else state.context
    view = task_view(execution.plan, state, task)
    posted = posted_log(task)
    if posted is not None:
        view["log"] = posted
    return {"task": view, "context": context}


def unknown_execution(execution_id: ExecutionId, event: Event) -> RillflowError:
    """Return the refusal of an event for an execution that does not exist."""
    if isinstance(event, ProgressReported) or (
        isinstance(event, CallbackReceived) and event.trigger
    ):
        return UnknownExecutionError(
            f"task not exists {execution_id}:{event.task}", wire_code=RequestError.wire_code
        )
    if isinstance(event, CallbackReceived) and not event.task.strip():
        return ExecutionError("finish taskName can not be null", 30606)
    if isinstance(event, RedoRequested):
        return ExecutionError("can not find dag info before redo.", DAG_NOT_FOUND)
    if isinstance(event, CompletionRequested):
        return ExecutionError(f"executionId not found {execution_id}", EXECUTION_NOT_FOUND)
    return ExecutionError(
        f"validateDAGInfo dag executionId:{execution_id} not found", EXECUTION_NOT_FOUND
    )
