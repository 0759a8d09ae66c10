"""Events of a journal as the console lists them: what each one said.

Used by `core/inspection`.
"""

from typing import Any, Final

import msgspec

from rillflow.core import events as core
from rillflow.core.events import Event
from rillflow.core.inspection.cutting import cut
from rillflow.core.redaction import redacted, redacted_part
from rillflow.jsontypes import JsonObject, JsonValue, decode_json

_LONGEST_TEXT: Final = 300
KINDS: Final = {
    core.ExecutionSubmitted: "submitted",
    core.DispatchAnswered: "dispatch_answered",
    core.CallbackReceived: "callback_received",
    core.ProgressReported: "progress_reported",
    core.WakeUpReceived: "wake_up_received",
    core.TimerFired: "timer_fired",
    core.RedoRequested: "redo_requested",
    core.DegradeRequested: "degrade_requested",
    core.CompletionRequested: "completion_requested",
    core.CancelRequested: "cancel_requested",
    core.PauseRequested: "pause_requested",
    core.ResumeRequested: "resume_requested",
    core.NoticeDelivered: "notice_delivered",
}
_SECRET: Final = frozenset({"id_key"})
_FACTS: Final = (
    *("http_status", "error", "poll", "is_outcome", "succeeded", "msg", "code", "kind"),
    *("failed_only", "current", "followings", "success", "key_succeeded", "due_ms", "child"),
    *("fraction", "message"),
)


def kind_of(event: Event) -> str:
    """Return the kind of an event."""
    return KINDS[type(event)]


def task_of(event: Event) -> str:
    """Return the instance that an event is about, empty for the whole execution."""
    task = getattr(event, "task", "")
    return task if isinstance(task, str) else ""


def facts_of(event: Event) -> JsonObject:
    """Return the short facts of an event."""
    facts: JsonObject = {}
    for name in _FACTS:
        value = getattr(event, name, None)
        if value is None:
            continue
        facts["timer" if name == "kind" else name] = _short(value)
    if isinstance(event, core.RedoRequested):
        facts["tasks"] = list(event.tasks[:20])
    by = _key_of(event)
    if by:
        facts["by"] = by
    return facts


def data_of(event: Event) -> JsonValue:
    """Return all that an event says, masked and cut."""
    fields: JsonObject = {}
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if value is None or name in _SECRET:
            continue
        fields[name] = _field(name, value)
    return cut(fields, 64 * 1024)


def sentence_of(event: Event) -> str:
    """Return what happened, in English."""
    name = task_of(event) or "the execution"
    if isinstance(event, core.DispatchAnswered):
        if event.error is not None:
            return f"The call of {name} failed: {event.error[:_LONGEST_TEXT]}"
        return f"{name} answered{'' if event.http_status is None else f' {event.http_status}'}."
    if isinstance(event, core.TimerFired):
        return f"The {event.kind} timer of {name} came due."
    if isinstance(event, core.NoticeDelivered):
        return f"The notice to the {event.kind} was delivered."
    by = _key_of(event)
    told = _SENTENCES[type(event)].format(name)
    return f"{told.removesuffix('.')} by the key {by}." if by else told


def _key_of(event: Event) -> str:
    """Return the name of the key with which a person has requested something, or an empty text."""
    by = getattr(event, "by", "")
    return by if isinstance(by, str) else ""


_SENTENCES: Final = {
    core.ExecutionSubmitted: "The execution was submitted.",
    core.CallbackReceived: "The outcome of {} arrived.",
    core.ProgressReported: "{} reported its progress.",
    core.WakeUpReceived: "A wake-up of {} arrived.",
    core.RedoRequested: "A redo was requested.",
    core.DegradeRequested: "{} was degraded.",
    core.CompletionRequested: "The execution was completed by hand.",
    core.CancelRequested: "The execution was cancelled.",
    core.PauseRequested: "The execution was paused.",
    core.ResumeRequested: "The execution was resumed.",
}


def _short(value: Any) -> JsonValue:
    return value[:_LONGEST_TEXT] if isinstance(value, str) else value


def _field(name: str, value: Any) -> JsonValue:
    if isinstance(value, bytes):
        try:
            found = decode_json(value) if value else None
        except ValueError:
            return value.decode(errors="replace")
        if name == "callback" and isinstance(found, dict):
            return redacted_part(found)
        return redacted(found)
    built: JsonValue = msgspec.to_builtins(value)
    return built
