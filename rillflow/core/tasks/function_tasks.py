"""Function tasks: dispatch, parsing of the answer, outcome, and retry (spec 3.10 to 3.12).

``schedule_retry`` composes the delay of a retry, from the back-off of ``retry_wait_s`` and others.
`polling.py` continues with tasks whose result is polled.
"""

from collections.abc import Sequence

import msgspec

from rillflow.core.commands import DispatchTask
from rillflow.core.events import CallbackReceived, DispatchAnswered, RouteStep
from rillflow.core.plan import TaskPlan
from rillflow.core.secret_places import places_in
from rillflow.core.state import TaskState
from rillflow.core.status import KEY_SUCCEED, READY, RUNNING
from rillflow.core.tasks import controls
from rillflow.core.tasks.kept_outputs import keep_for_good, note_output
from rillflow.core.tasks.retry_waits import pace_s, retry_wait_s
from rillflow.core.turn import CRASHES, TASK_ERRORS, Turn
from rillflow.definition.model import FunctionTask, Retry
from rillflow.errors import ExecutionError, LanguageError, WorkLimitError
from rillflow.ids_of_others import as_told_to
from rillflow.jsontypes import JsonObject, JsonValue, decode_json, encode_json, weight_of
from rillflow.language.budget import TotalBudget
from rillflow.language.mapping.conditions import all_hold, any_holds
from rillflow.language.versions import (
    AVIATOR_AND_JAYWAY_MEASURED,
    GENERATE_AUTH_IN_INPUT_ONLY,
    IDS_OF_OTHERS_HIDDEN,
    RETRIES_PACED,
)

ASYNC_PATTERNS = frozenset({"task_async", "task_scheduler"})
FLOW_PATTERNS = frozenset({"flow_sync", "flow_async"})
SUCCESS = "SUCCESS"
_SIGNS = "generate_auth"
_FACTS = frozenset({"invoke_id", "error_code", "code", "error_msg", "msg", "execution_id"})
"""Keys by which an answer describes itself."""
SHOWN_CHARACTERS = 512
"""Limit of the characters of an unreadable answer that become the task's message."""
_SHOWN_BYTES = 4 * SHOWN_CHARACTERS
MESSAGE_CHARACTERS = 4_096
"""Limit of the characters that are kept of an answer's failure message, which brief views show."""
ID_CHARACTERS = 1_024
"""Limit of the characters that are kept of an id in an answer."""


class Answer(msgspec.Struct, frozen=True):
    """A parsed dispatch answer; ``output`` None means that it had no output."""

    output: JsonObject | None
    recorded: JsonObject | None = None
    invoke_id: str | None = None
    code: str | None = None
    msg: str | None = None
    execution_id: str | None = None


def run_function(turn: Turn, task: TaskState, plan: TaskPlan, document: JsonObject) -> None:
    """Dispatch the next attempt of a function task."""
    merged = document
    parameters = plan.spec.parameters
    if parameters:
        merged = {**_parameters(turn, parameters, document), **document}
        task.invoke.input = merged
    if task.attempt:
        task.forget_call()
        keep_for_good(task)
    task.attempt += 1
    task.in_flight = True
    task.invoke.note_call(task.attempt, turn.at_ms)
    turn.set_status(task, RUNNING)
    timeout_s = None
    if plan.spec.timeline is not None:
        timeout_s = controls.timeout_s(plan, merged, turn.budget)
    command = _command(turn, task, plan, timeout_s)
    budget = turn.budget
    budget.memory_bytes -= len(command.input)
    if budget.memory_bytes < 0:
        raise budget.out_of_memory()
    turn.commands.append(command)
    if timeout_s is not None:
        controls.set_timeout(turn, task, timeout_s)


def _parameters(turn: Turn, parameters: JsonObject, document: JsonObject) -> JsonObject:
    """Return the parameters that are not in the input.

    ``generate_auth`` has no effect as a parameter: the signature is decided before parameters are
    merged into the input (spec 4.1).
    """
    ignored = _SIGNS if turn.state.language >= GENERATE_AUTH_IN_INPUT_ONLY else None
    return {k: v for k, v in parameters.items() if k not in document and k != ignored}


def dispatch_command(turn: Turn, task: TaskState, plan: TaskPlan) -> DispatchTask:
    """Build the command of the attempt under way again."""
    return _command(turn, task, plan, controls.timeout_s(plan, task.invoke.input or {}))


def _command(turn: Turn, task: TaskState, plan: TaskPlan, timeout_s: int | None) -> DispatchTask:
    call, document = plan.call, task.invoke.input or {}
    return DispatchTask(
        execution_id=turn.state.execution_id,
        task=task.name,
        attempt=task.attempt,
        pattern=call.pattern,
        resource_name=call.resource_name,
        resource_protocol=call.resource_protocol,
        request_type=call.request_type,
        input=encode_json(document),
        timeout_s=timeout_s,
        resource=call.resource,
        route=_route_of(turn.state.route) if turn.state.route else (),
        at_ms=task.invoke.time_infos[-1].start_ms if task.invoke.time_infos else turn.at_ms,
        secrets=places_in(document, plan.secrets) if plan.secrets else (),
        ray_options=plan.ray_options,
        traceparent=turn.state.traceparent_of(task.name, task.attempt),
    )


def _route_of(route: Sequence[RouteStep]) -> tuple[tuple[str, str, str], ...]:
    return tuple((step.execution_id, step.task, step.pattern) for step in route)


def parse_answer(body: bytes | None) -> Answer:
    """Parse the text that a dispatch returned (spec 3.10, Parse)."""
    try:
        value = decode_json(body) if body and body.strip() else None
    except ValueError:
        return Answer(None)
    if isinstance(value, list):
        return Answer({"data": value}, {"data": value})
    if not isinstance(value, dict):
        return Answer(None if value is None else {})
    data = value.get("data")
    recorded = data if isinstance(data, dict) else value
    says_nothing = value.keys().isdisjoint(_FACTS)
    if says_nothing and (recorded is value or recorded.keys().isdisjoint(_FACTS)):
        return Answer(value, recorded)
    facts = [value] if recorded is value else [value, recorded]
    return Answer(
        output=value,
        recorded=recorded,
        invoke_id=_cut(_last(facts, "invoke_id"), ID_CHARACTERS),
        code=short_code(_last(facts, "error_code", "code")),
        msg=_cut(_last(facts, "error_msg", "msg"), MESSAGE_CHARACTERS),
        execution_id=_cut(_last(facts, "execution_id"), ID_CHARACTERS),
    )


def no_result(body: bytes | None) -> str:
    """Return why a function's answer is no result; spec 3.10 leaves the message open."""
    shown = (body or b"").lstrip()[:_SHOWN_BYTES]  # of megabytes only what is told is decoded
    text = shown.decode(errors="replace").strip()
    if not text or text == "null":
        return "the answer of the function is empty, and a result is JSON"
    return f"the answer of the function is not JSON: {text[:SHOWN_CHARACTERS]}"


def _last(facts: list[JsonObject], *keys: str) -> str | None:
    """Return the text of the first key that is present, in the last facts first."""
    for fact in reversed(facts):
        for key in keys:
            if fact.get(key) is not None:
                return as_text(fact[key])
    return None


def _cut(text: str | None, most: int) -> str | None:
    return text if text is None else text[:most]


def short_code(code: str | None) -> str | None:
    """Return a code that every store can list: without NUL, 256 characters at most."""
    return None if code is None else code.replace("\0", "")[:256]


def as_text(value: JsonValue) -> str:
    """Return text as it is, anything else as JSON."""
    return value if isinstance(value, str) else encode_json(value).decode()


def answer_arrived(turn: Turn, task: TaskState, event: DispatchAnswered) -> None:
    """Handle the answer of the attempt under way."""
    plan = turn.plan.by_name[task.base]
    pattern = plan.spec_as(FunctionTask).pattern
    task.in_flight = False
    task.retry_after_s = event.retry_after_s
    if event.resource_name is not None:
        chosen = {"calculated_resource_name": event.resource_name}
        task.invoke.ext = {**(task.invoke.ext or {}), **chosen}
    task.invoke.hint = event.hint
    held, task.held = task.held, None
    if event.error is not None:
        if held is not None and pattern != "task_sync":
            finish_held(turn, task, plan, held)
            return
        _dispatch_failed(turn, task, plan, event)
        return
    answer = _start_told(turn, event) if pattern in FLOW_PATTERNS else parse_answer(event.body)
    record(turn, task, answer, event)
    if pattern == "task_sync":
        _conclude_sync(turn, task, plan, answer, event.body)
    elif pattern in FLOW_PATTERNS:
        _flow_started(turn, task, plan, answer)
    if held is None and event.is_outcome and pattern in ASYNC_PATTERNS:
        held = _as_callback(turn, task, answer)
    if task.status is RUNNING:
        _await_outcome(turn, task, plan, held)


def _start_told(turn: Turn, event: DispatchAnswered) -> Answer:
    """Return the answer of a start, whose data have no id of a sub-flow of another workspace."""
    answer = parse_answer(event.body)
    if event.body is None or turn.state.language < IDS_OF_OTHERS_HIDDEN:
        return answer
    told = as_told_to(turn.state.execution_id, event.body)
    if told == event.body:
        return answer
    return msgspec.structs.replace(parse_answer(told), execution_id=answer.execution_id)


def _await_outcome(
    turn: Turn, task: TaskState, plan: TaskPlan, held: CallbackReceived | None
) -> None:
    if held is None:
        task.invoke.note_answer(turn.at_ms)
    else:
        finish_held(turn, task, plan, held)


def _as_callback(turn: Turn, task: TaskState, answer: Answer) -> CallbackReceived:
    """Return the callback that an answer stands for; its own fields say whether it succeeded."""
    output = encode_json(answer.output or {})
    return CallbackReceived(
        at_ms=turn.at_ms, task=task.name, output=output, msg=answer.msg, code=answer.code
    )


def _conclude_sync(
    turn: Turn, task: TaskState, plan: TaskPlan, answer: Answer, body: bytes | None
) -> None:
    if answer.output is None:
        task.invoke.msg = no_result(body)
        task.invoke.note_error(task.invoke.msg)
    try:
        conclude(turn, task, plan, answer.output, None)
    except CRASHES:
        raise
    except TASK_ERRORS as error:
        fail_attempt(turn, task, plan, error, answer.output)


def record(turn: Turn, task: TaskState, answer: Answer, event: DispatchAnswered) -> None:
    """Record the fields by which an answer describes itself; absent fields keep their values."""
    invoke = task.invoke
    invoke.invoke_id = answer.invoke_id or invoke.invoke_id
    invoke.code = answer.code if answer.code is not None else invoke.code
    if answer.msg is not None:
        invoke.msg = answer.msg
        invoke.note_error(answer.msg)
    invoke.referenced_execution_id = answer.execution_id or invoke.referenced_execution_id
    if answer.recorded is not None:
        invoke.output = answer.recorded
        note_output(turn.state, task, weight_of(event.body or b""))


def _dispatch_failed(turn: Turn, task: TaskState, plan: TaskPlan, event: DispatchAnswered) -> None:
    answer = parse_answer(event.body)
    record(turn, task, answer, event)
    task.invoke.msg = task.invoke.msg or event.error
    task.invoke.note_error(answer.msg or event.error)
    # The body of a gateway's error is not an output, so conditions of retry do not see it (spec
    # Q19). They do see the error of a function, which is its outcome.
    retry_or_end(turn, task, plan, answer.output or {} if event.is_outcome else {})


def _flow_started(turn: Turn, task: TaskState, plan: TaskPlan, answer: Answer) -> None:
    if answer.execution_id is None:
        task.invoke.give_hint("the answer has no execution_id, so no sub-flow was started")
        retry_or_end(turn, task, plan, answer.output or {})
        return
    ends_here = plan.spec_as(FunctionTask).pattern == "flow_async"
    try:
        if answer.output and plan.spec.output_mappings:
            apply = controls.map_output if ends_here else controls.map_first_output
            apply(turn, task, plan, answer.output)
    except CRASHES:
        raise
    except TASK_ERRORS as error:
        fail_attempt(turn, task, plan, error, answer.output)
        return
    if ends_here:
        controls.succeed(turn, task)


def finish_held(turn: Turn, task: TaskState, plan: TaskPlan, held: CallbackReceived) -> None:
    """Apply an outcome whose sender has gone, such as an early callback.

    A condition or mapping that raises fails the attempt, as at the answer of a dispatch.
    """
    try:
        take_callback(turn, task, plan, held)
    except CRASHES:
        raise
    except TASK_ERRORS as error:
        fail_attempt(turn, task, plan, error, task.invoke.output)


def fail_attempt(
    turn: Turn, task: TaskState, plan: TaskPlan, error: Exception, output: JsonObject | None
) -> None:
    """Fail an attempt because a condition or an output rule could not be applied to its outcome.

    The attempt may be retried; conditions of ``retry`` see its output (spec 3.10).
    """
    if turn.state.language < AVIATOR_AND_JAYWAY_MEASURED:
        controls.fail(turn, task, plan, str(error))
        return
    task.invoke.msg = str(error)
    task.invoke.note_error(task.invoke.msg)
    if may_retry(task, plan, output):
        schedule_retry(turn, task, plan)
    else:
        controls.end_failed(turn, task, None, tolerated=plan.spec.tolerance)


def take_callback(turn: Turn, task: TaskState, plan: TaskPlan, event: CallbackReceived) -> None:
    """Finish a RUNNING function task with an outcome from outside.

    Raises:
        LanguageError: An output rule with ``tolerance: false`` or a condition failed.
        ExecutionError: The context cannot be kept.
    """
    if event.failure is not None:
        task.invoke.code = event.code
        task.invoke.note_error(event.failure)
        fail_attempt(turn, task, plan, ExecutionError(event.failure), None)
        return
    task.invoke.note_sender(event.trace)
    output = decode_json(event.output)
    document: JsonObject = output if isinstance(output, dict) else {"data": output}
    invoke = task.invoke
    invoke.hint = None
    ext = decode_json(event.ext) if event.ext is not None else None
    if isinstance(ext, dict):
        named = ext.pop("invoke_id", None)
        invoke.invoke_id = as_text(named)[:ID_CHARACTERS] if named else invoke.invoke_id
        invoke.ext = {**(invoke.ext or {}), **ext} or invoke.ext
    # The failure in a callback counts only if the task's own conditions call it a failure.
    if event.succeeded is not False or not _outcome(turn, plan, document, event):
        invoke.code = short_code(event.code) if event.code is not None else invoke.code
        if event.msg is not None:
            invoke.msg = event.msg
            invoke.note_error(event.msg)
    invoke.output = document
    note_output(turn.state, task, weight_of(event.output))
    if event.key_succeeded:
        _key_succeeded(turn, task, plan, document)
    else:
        conclude(turn, task, plan, document, event)


def _key_succeeded(turn: Turn, task: TaskState, plan: TaskPlan, output: JsonObject) -> None:
    if output and plan.spec.output_mappings:
        controls.map_output(turn, task, plan, output)
    turn.set_status(task, KEY_SUCCEED)
    turn.move_on(task)


def conclude(
    turn: Turn,
    task: TaskState,
    plan: TaskPlan,
    output: JsonObject | None,
    callback: CallbackReceived | None,
) -> None:
    """Decide how an attempt ended, map its output, and start what follows.

    Raises:
        LanguageError: An output rule with ``tolerance: false`` or a condition failed, or a rule
            of a strict execution had no effect.
        ExecutionError: The context cannot be kept.
    """
    if not _outcome(turn, plan, output, callback):
        _conclude_failure(turn, task, plan, output, callback)
        return
    if plan.spec.output_mappings:
        if output:
            controls.map_output(turn, task, plan, output)
        else:
            turn.note_unapplied(task, plan.outputs)
    controls.succeed(turn, task)


def _conclude_failure(
    turn: Turn,
    task: TaskState,
    plan: TaskPlan,
    output: JsonObject | None,
    callback: CallbackReceived | None,
) -> None:
    _hint_at_failure(task, plan, output)
    if may_retry(task, plan, output, turn.budget):
        schedule_retry(turn, task, plan)
        return
    spec = plan.spec_as(FunctionTask)
    has_conditions = bool(spec.success_conditions or spec.fail_conditions)
    is_mapped = spec.tolerance or (callback is not None and has_conditions)
    if output and spec.output_mappings and is_mapped:
        controls.map_output(turn, task, plan, output)
    controls.end_failed(turn, task, None, tolerated=spec.tolerance)


def _hint_at_failure(task: TaskState, plan: TaskPlan, output: JsonObject | None) -> None:
    """Record why an outcome is a failure, if the outcome does not say so."""
    spec, invoke, why = plan.spec_as(FunctionTask), task.invoke, None
    if output is not None and spec.success_conditions:
        why = "its successConditions do not hold"
    elif output is not None and spec.fail_conditions:
        why = "its failConditions hold"
    elif output is not None and invoke.msg is None and output.get("result_type") is not None:
        why = f"its result_type is {short_code(as_text(output['result_type']))}"
    if why is not None:
        invoke.give_hint(why)


def _outcome(
    turn: Turn, plan: TaskPlan, output: JsonObject | None, callback: CallbackReceived | None
) -> bool:
    """Return whether the attempt succeeded (spec 3.10, Status)."""
    spec = plan.spec_as(FunctionTask)
    if output is None:
        return False
    if spec.success_conditions:
        return all_hold(spec.success_conditions, {"output": output}, turn.budget)
    if spec.fail_conditions:
        return not all_hold(spec.fail_conditions, {"output": output}, turn.budget)
    if callback is not None and callback.succeeded is not None:
        return callback.succeeded
    result = output.get("result_type")
    return result is None or as_text(result).upper() == SUCCESS


def may_retry(
    task: TaskState,
    plan: TaskPlan,
    output: JsonObject | None,
    budget: TotalBudget | None = None,
) -> bool:
    """Tell whether a failed attempt may be retried (spec 3.12).

    It may not if nothing is left of the budget; the attempt itself has failed already.
    """
    retry = plan.spec_as(FunctionTask).retry
    if retry is None or attempts_of(task) > (retry.max_retries or 0):
        return False
    if not retry.conditions:
        return True
    try:
        return output is not None and any_holds(retry.conditions, {"output": output}, budget)
    except (LanguageError, WorkLimitError):
        return False


def attempts_of(task: TaskState) -> int:
    """Count the attempts made within the present budget of retries."""
    return task.invoke.attempts - task.spent


def retry_or_end(turn: Turn, task: TaskState, plan: TaskPlan, output: JsonObject) -> None:
    """End a failed attempt: retry if that is allowed, else fail the task."""
    if may_retry(task, plan, output, turn.budget):
        schedule_retry(turn, task, plan)
    else:
        controls.end_failed(turn, task, None, tolerated=plan.spec.tolerance)


def schedule_retry(turn: Turn, task: TaskState, plan: TaskPlan) -> None:
    """Set the task READY and run it again, at once or after its wait."""
    retry = plan.spec_as(FunctionTask).retry or Retry()
    attempts = attempts_of(task)
    wait_s: float = retry_wait_s(retry, attempts)
    if task.retry_after_s is not None:
        wait_s = max(wait_s, task.retry_after_s)
    if wait_s < 1 and turn.state.language >= RETRIES_PACED:
        wait_s = max(wait_s, pace_s(attempts))
    if retry.jitter and retry.jitter > 0:
        wait_s *= 1 + min(retry.jitter, 1) * turn.next_chance()
    task.invoke.close_failed()
    turn.close_time(task)
    task.in_flight = False
    task.timeout_due_ms = task.poll_due_ms = None
    turn.set_status(task, READY)
    if wait_s > 0:
        turn.set_timer("delay", task, turn.at_ms + int(wait_s * 1000))
    else:
        turn.make_ready(task)
