"""Polling a gateway for the result of a call that it has accepted (spec 10.5).

Tasks with a poll address are polled from the start. Tasks that wait for a callback are polled once
the callback is overdue, if the execution has ``expected_callback_s``.

Used by `core`, `runtime/commands/runner.py` and `testing/scenario.py`.
"""

from typing import NamedTuple

from rillflow.core.commands import DispatchTask
from rillflow.core.events import CallbackReceived, DispatchAnswered
from rillflow.core.plan import TaskPlan
from rillflow.core.state import TaskState
from rillflow.core.tasks import function_tasks
from rillflow.core.transitions import TAKE, task_transitions
from rillflow.core.turn import Turn
from rillflow.definition.model import FunctionTask, Polling
from rillflow.jsontypes import JsonObject, JsonValue, encode_json

PATTERN = "poll"
ACCEPTED = 202
INTERVAL_S = 1
MAX_INTERVAL_S = 30
NO_ADDRESS = "the gateway accepted the call but gave no address to ask for its result"

_NOT_YET_STATUSES = (404, 408, 425, 429)
_RUNNING = frozenset({"Running", "Pending", "ContinuedAsNew", "Suspended"})
_COMPLETED = "Completed"


class Result(NamedTuple):
    """The result in a gateway's answer; ``succeeded`` None leaves it to the conditions."""

    output: JsonObject
    succeeded: bool | None = None
    running: bool = False


def polls(plan: TaskPlan) -> bool:
    """Tell whether a task's result is polled."""
    spec = plan.spec
    return isinstance(spec, FunctionTask) and spec.completion == "poll"


def begin(turn: Turn, task: TaskState, plan: TaskPlan, event: DispatchAnswered) -> None:
    """Continue after the gateway has accepted the call, or has answered it at once."""
    if event.poll_url is not None:
        task.poll_url, task.polls_public = event.poll_url, event.polls_public
        _ask_later(turn, task, plan, event)
    elif event.http_status == ACCEPTED:
        task.invoke.msg = NO_ADDRESS
        task.invoke.note_error(NO_ADDRESS)
        function_tasks.retry_or_end(turn, task, plan, {})
    else:
        _conclude(turn, task, plan, event)


def accepted(turn: Turn, task: TaskState, event: DispatchAnswered) -> None:
    """Continue with a task that still runs after its call succeeded."""
    plan = turn.plan_of(task)
    if polls(plan):
        begin(turn, task, plan, event)
    elif plan.spec_as(FunctionTask).pattern in function_tasks.ASYNC_PATTERNS:
        _expect_callback(turn, task, event)


def _expect_callback(turn: Turn, task: TaskState, event: DispatchAnswered) -> None:
    """Set a timer for an overdue callback, so that a lost one does not leave the task running.

    Without a poll address, only the task's own time-out ends it, if it has one.
    """
    wait_s = turn.state.expected_callback_s
    if wait_s is None or (event.poll_url is None and task.timeout_due_ms is not None):
        return
    if event.poll_url is not None:
        task.poll_url, task.polls = event.poll_url, 1
        task.polls_public = event.polls_public
        wait_s = max(wait_s, event.retry_after_s or 0)
    turn.set_timer("poll", task, turn.at_ms + int(wait_s * 1000))


def poll_due(turn: Turn, task: TaskState, due_ms: int) -> bool:
    """Poll now, or give up a callback; return False if the result is no longer awaited."""
    if task_transitions(turn.state).poll_due[task.status] is not TAKE or task.poll_due_ms != due_ms:
        return False
    task.poll_due_ms = None
    if task.poll_url is None:
        task.invoke.msg = f"no callback within {turn.state.expected_callback_s:g} s"
        task.invoke.note_error(task.invoke.msg)
        function_tasks.retry_or_end(turn, task, turn.plan_of(task), {})
        return True
    task.in_flight = True
    turn.commands.append(poll_command(turn, task))
    return True


def under_way(task: TaskState) -> int:
    """Return the number of the poll under way, 0 for the call itself."""
    return task.polls if task.poll_url is not None else 0


def poll_command(turn: Turn, task: TaskState) -> DispatchTask:
    """Build the command of a poll, also after a restart."""
    spec = turn.plan_of(task).spec_as(FunctionTask)
    chosen = (task.invoke.ext or {}).get("calculated_resource_name")
    name = chosen if isinstance(chosen, str) else spec.resource_name or ""
    return DispatchTask(
        execution_id=turn.state.execution_id,
        task=task.name,
        attempt=task.attempt,
        pattern=PATTERN,
        resource_name=task.poll_url or "",
        request_type="GET",
        at_ms=task.invoke.time_infos[-1].start_ms,
        poll=task.polls,
        called=(name, spec.resource_protocol),
        is_public=task.polls_public,
        traceparent=turn.state.traceparent_of(task.name, task.attempt),
    )


def call_under_way(turn: Turn, task: TaskState) -> DispatchTask:
    """Build the command under way, the attempt itself or a poll, as it was first ordered."""
    if task.poll_url is not None:
        return poll_command(turn, task)
    return function_tasks.dispatch_command(turn, task, turn.plan_of(task))


def answered(turn: Turn, task: TaskState, event: DispatchAnswered) -> None:
    """Handle the gateway's answer to a poll: not yet, or the result."""
    plan = turn.plan_of(task)
    task.in_flight = False
    held, task.held = task.held, None
    if held is not None:
        function_tasks.finish_held(turn, task, plan, held)
    elif _is_not_yet(event):
        task.invoke.msg = event.error
        _ask_later(turn, task, plan, event)
    elif event.error is not None:
        task.invoke.msg = event.error
        task.invoke.note_error(event.error)
        function_tasks.retry_or_end(turn, task, plan, {})
    else:
        _conclude(turn, task, plan, event)


def _is_not_yet(event: DispatchAnswered) -> bool:
    status = event.http_status
    if event.error is None:
        return status == ACCEPTED or read_result(event.body).running
    return status is None or status in _NOT_YET_STATUSES or status >= 500


def _ask_later(turn: Turn, task: TaskState, plan: TaskPlan, event: DispatchAnswered) -> None:
    polling = plan.spec_as(FunctionTask).polling or Polling()
    shortest = max(polling.interval_s or INTERVAL_S, 1)
    longest = max(polling.max_interval_s or MAX_INTERVAL_S, shortest)
    wait_s: float = min(shortest * 2 ** min(task.polls, 20), longest)
    if event.retry_after_s is not None:
        wait_s = max(wait_s, event.retry_after_s)
    task.polls += 1
    turn.set_timer("poll", task, turn.at_ms + int(wait_s * 1000))


def read_result(body: bytes | None) -> Result:
    """Read an answer: Azure's ``runtimeStatus``, OpenWhisk's activation, or plain output."""
    output = function_tasks.parse_answer(body).output or {}
    runtime = output.get("runtimeStatus")
    if isinstance(runtime, str):
        result = _document(output.get("output"))
        return Result(result, runtime == _COMPLETED, runtime in _RUNNING)
    response = output.get("response")
    if "activationId" in output and isinstance(response, dict):
        return Result(_document(response.get("result")), response.get("success") is True)
    return Result(output)


def _document(value: JsonValue) -> JsonObject:
    return value if isinstance(value, dict) else {"data": value}


def _conclude(turn: Turn, task: TaskState, plan: TaskPlan, event: DispatchAnswered) -> None:
    result = read_result(event.body)
    said = function_tasks.parse_answer(encode_json(result.output))
    outcome = CallbackReceived(
        at_ms=turn.at_ms,
        task=task.name,
        succeeded=result.succeeded,
        output=encode_json(result.output),
        msg=said.msg,
        code=said.code,
    )
    function_tasks.finish_held(turn, task, plan, outcome)
