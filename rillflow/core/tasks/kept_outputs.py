"""Limit of the function outputs that the tasks of an execution keep.

Owners call ``within_limit`` before they handle an event. An answer beyond the limit is turned into
a failure there: the journal holds the failure and not the answer, so a replay needs no limit, and
the answer is not stored.

Used by `core` and `runtime`.
"""

from typing import Final

from msgspec.structs import replace

from rillflow.core.encoding.stored_context import CONTENT_TOO_LONG
from rillflow.core.events import CallbackReceived, DispatchAnswered, Event
from rillflow.core.plan import Plan
from rillflow.core.state import ExecutionState, TaskState
from rillflow.jsontypes import MOST_WEIGHT_OF_BYTE, decode_json, encode_json, weight_of

OUTPUTS_MAX_BYTES: Final = 64 * 1024 * 1024
LONG_BYTES: Final = 64 * 1024
SHOWN_BYTES: Final = 16 * 1024
"""More than what messages show of an answer that is no JSON."""
NO_JSON: Final = b"\0"
HINT: Final = (
    "functions may answer with an address of what they made; the limit is the setting"
    " outputs_max_bytes (RILLFLOW_OUTPUTS_MAX_BYTES)"
)
_CODE: Final = str(CONTENT_TOO_LONG)


def note_output(state: ExecutionState, task: TaskState, size_bytes: int) -> None:
    """Count the output that a task keeps now, by ``weight_of`` its text, in place of the last."""
    state.outputs_bytes += size_bytes - task.output_bytes
    task.output_bytes = size_bytes


def keep_for_good(task: TaskState) -> None:
    """Have the output count that a task keeps of its last attempt, before the next one begins.

    The journal keeps it, so that retries would fill the store otherwise.
    """
    task.earlier_bytes += task.output_bytes
    task.output_bytes = 0


def drop_outputs(state: ExecutionState, task: TaskState) -> None:
    """Give back the room of all outputs of a task, which a redo drops."""
    state.outputs_bytes -= task.output_bytes + task.earlier_bytes
    task.output_bytes = task.earlier_bytes = 0


def is_too_long(state: ExecutionState, event: Event, most_bytes: int) -> bool:
    """Tell whether an answer is beyond the limit by its length alone, and need not be decoded."""
    if not isinstance(event, DispatchAnswered) or event.body is None:
        return False
    return _exceeds(state, event.task, len(event.body), most_bytes)


def within_limit(plan: Plan, state: ExecutionState, event: Event, most_bytes: int) -> Event:
    """Return the event to handle: an answer beyond the limit becomes a failure."""
    if isinstance(event, DispatchAnswered):
        event = _without_rest(state, event, most_bytes)
        body = event.body
        if body is None or state.outputs_bytes + MOST_WEIGHT_OF_BYTE * len(body) <= most_bytes:
            return event  # as nearly all
        if not _is_too_much(state, event.task, body, most_bytes):
            return event
        if event.error is not None:  # the error matters more than the body that came with it
            return replace(event, body=None)
        message = _message(most_bytes)
        body = encode_json({"error_code": _CODE, "error_msg": message})
        return replace(event, body=body, error=message, hint=HINT, is_outcome=False)
    if isinstance(event, CallbackReceived) and _is_too_much(
        state, event.task, event.output, most_bytes
    ):
        task = state.tasks.get(event.task)
        if task is not None and plan.by_name[task.base].category == "function":
            message = _message(most_bytes)
            return replace(event, output=b"{}", msg=message, code=_CODE, failure=message)
    return event


def _without_rest(
    state: ExecutionState, event: DispatchAnswered, most_bytes: int
) -> DispatchAnswered:
    """Leave out of an answer that is no JSON what nobody is shown, so that it is not stored.

    What is left is no JSON either, so that a replay comes to the same end.
    """
    body = event.body
    if body is None or len(body) <= LONG_BYTES or is_too_long(state, event, most_bytes):
        return event
    try:
        decode_json(body)
    except ValueError:
        return replace(event, body=body.lstrip()[:SHOWN_BYTES] + NO_JSON)
    return event


def _is_too_much(state: ExecutionState, name: str, text: bytes, most_bytes: int) -> bool:
    if state.outputs_bytes + MOST_WEIGHT_OF_BYTE * len(text) <= most_bytes:
        return False
    # A text weighs its length at least: what is too long is not weighed.
    is_long = _exceeds(state, name, len(text), most_bytes)
    return is_long or _exceeds(state, name, weight_of(text), most_bytes)


def _exceeds(state: ExecutionState, name: str, size_bytes: int, most_bytes: int) -> bool:
    if state.outputs_bytes + size_bytes <= most_bytes:
        return False
    task = state.tasks.get(name)
    return task is not None and state.outputs_bytes + size_bytes - task.output_bytes > most_bytes


def _message(most_bytes: int) -> str:
    return f"content length: the outputs of the execution would exceed {most_bytes} bytes together"
