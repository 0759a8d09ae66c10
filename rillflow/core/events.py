"""The events of an execution. Its journal is the list of the events that it accepted.

Owners make events from calls and timers, the core handles them, and stores keep them. Names are in
the past tense. ``at_ms`` is milliseconds since the epoch, since the core reads no clock. JSON
values are kept as JSON text, so that an event is encoded and decoded without parsing them.

Used by `client`, `core`, `ports`, `runtime`, `serve` and `testing`.
"""

from typing import Final, TypeAlias, TypedDict

import msgspec

from rillflow.ids import ExecutionId, TaskName
from rillflow.language.versions import FIRST
from rillflow.telemetry.trace_context import TraceParent, TraceStart

CONTEXT_MAX_BYTES: Final = 8 * 1024 * 1024
"""Limit of what one save may change in a context, and of one input."""
FOREACH_MAX_ITEMS: Final = 20_000
"""Limit of the items of one foreach. One turn makes all its groups while other executions wait."""
DESCENDANTS_MAX: Final = 1_000
"""Limit of the sub-flows of an execution, counted at all levels below it."""


FOREACH_IN_PORTIONS: Final = False
"""Whether new executions have ``foreach_in_portions``.

The release before this one does not know the field and would replay such an execution in another
way, so this release only understands it, and the next one sets it.
"""
_POSTED: Final = '{"text":'


class _Event(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag=True):
    at_ms: int


class ParentLink(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """The task of another execution that waits for this one (spec 3.15)."""

    execution_id: ExecutionId
    task: TaskName
    attempt: int
    pattern: str


class RouteStep(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One level of the chain of sub-flows, outermost first."""

    execution_id: ExecutionId
    task: TaskName
    pattern: str


class SubFlowNotice(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Which notice of a sub-flow to its parent a callback is.

    ``number`` counts the ends of the sub-flow. ``redone`` is set if the sub-flow was restarted
    after an end: a task that failed because of that end waits for it again. With ``running`` the
    sub-flow was restarted after the end ``number``, and the callback brings no outcome.
    """

    number: int
    redone: bool = False
    running: bool = False

    @property
    def position(self) -> int:
        """The place in the order of all notices of a sub-flow; a lower one is outdated."""
        return 2 * self.number + self.running


class ExecutionSettings(TypedDict, total=False):
    """Settings that an execution keeps for as long as it lives, and its sub-flows inherit.

    They are fields of ``ExecutionSubmitted``, which has a default for each: a replay under
    other settings must come to the same end.
    """

    context_max_bytes: int
    foreach_max_items: int
    expected_callback_s: float | None
    max_descendants: int
    strict_mappings: bool
    turn_max_steps: int | None
    turn_max_bytes: int | None
    turn_max_task_steps: int | None
    execution_max_tasks: int | None
    foreach_in_portions: bool


class ExecutionSubmitted(_Event, frozen=True, kw_only=True):
    """The first event. ``data`` is a JSON object; ``callback`` a CallbackConfig as JSON.

    ``host`` is the base of the callback addresses that mappings produce. ``uid`` is the
    submitter's, for A/B rules. The limits (``ExecutionSettings``) hold for the whole life of
    the execution, and so does ``expected_callback_s``, after which a callback is overdue (None:
    never). ``id_key`` is the secret from which the ids of its sub-flows are derived; it is empty
    in old journals. With ``strict_mappings`` a mapping rule without effect fails its list.
    ``language`` is the language version; records without one have the first. The limits of a
    turn and of tasks are None in records of older releases, which had no such limits. ``trace`` is
    None if the execution is not traced. With ``foreach_in_portions`` the limits of a turn also cut
    the making of a foreach's groups.
    """

    execution_id: ExecutionId
    definition_id: str
    data: bytes
    host: str
    callback: bytes | None = None
    parent: ParentLink | None = None
    route: tuple[RouteStep, ...] = ()
    dedicated: bool = False
    uid: int = 0
    context_max_bytes: int = CONTEXT_MAX_BYTES
    foreach_max_items: int = FOREACH_MAX_ITEMS
    expected_callback_s: float | None = None
    id_key: bytes = b""
    max_descendants: int = DESCENDANTS_MAX
    strict_mappings: bool = False
    language: int = FIRST
    turn_max_steps: int | None = None
    turn_max_bytes: int | None = None
    turn_max_task_steps: int | None = None
    execution_max_tasks: int | None = None
    trace: TraceStart | None = None
    foreach_in_portions: bool = False


class DispatchAnswered(_Event, frozen=True, kw_only=True):
    """The call of one attempt ended with an answer or an error (spec 3.10).

    ``resource_name`` is the function that A/B rules chose, None if no rule applied. ``poll`` is the
    number of the poll, 0 for the attempt itself; None is the call under way. ``hint`` explains an
    error further. ``is_outcome`` is set if the body of an asynchronous call already is its outcome,
    as a callback would bring it; with an error, if conditions of ``retry`` may read the body. With
    ``polls_public``, ``poll_url`` must not lead to a loopback or private address. ``log`` is the
    JSON text of the place of what the function has printed (``rillflow/ports/task_logs.py``).
    """

    task: TaskName
    attempt: int
    body: bytes | None = None
    error: str | None = None
    http_status: int | None = None
    retry_after_s: float | None = None
    poll_url: str | None = None
    resource_name: str | None = None
    poll: int | None = None
    hint: str | None = None
    is_outcome: bool = False
    polls_public: bool = False
    log: str | None = None


class CallbackReceived(_Event, frozen=True, kw_only=True):
    """An outcome came from outside (spec 3.11); ``succeeded`` None leaves it to the conditions.

    ``output`` is a JSON object. ``attempt`` None means that the caller did not say. ``trigger``
    marks callbacks of ``trigger.json``, which wake suspense tasks. ``sealed_attempt`` is the
    attempt that the verified seal of the address names; it is 0 if seals are required and the
    address has none, and None if seals are not required. ``sub_flow`` is set if a sub-flow sent the
    callback. ``failure`` is the reason why the attempt has failed whatever its conditions say.
    ``trace`` is the span of the sender, if it has sent one.
    ``log`` is the end of the log that the function has posted, as in ``ProgressReported``.
    """

    task: TaskName
    succeeded: bool | None = None
    output: bytes = b"{}"
    msg: str | None = None
    code: str | None = None
    ext: bytes | None = None
    will_retry: bool = False
    attempt: int | None = None
    key_succeeded: bool = False
    trigger: bool = False
    sealed_attempt: int | None = None
    sub_flow: SubFlowNotice | None = None
    failure: str | None = None
    trace: TraceParent | None = None
    log: str | None = None


class ProgressReported(_Event, frozen=True, kw_only=True):
    """A function says how far an attempt has come; this changes nothing but what is shown.

    ``fraction`` is from 0 to 1, None if it is not known. ``attempt`` None means that the caller did
    not say. ``sealed_attempt`` is that of a callback. ``log`` is the place of what the attempt
    prints, as in ``DispatchAnswered``, or the end of the log itself, as JSON of its ``text``.
    """

    task: TaskName
    fraction: float | None = None
    message: str = ""
    attempt: int | None = None
    sealed_attempt: int | None = None
    log: str | None = None


class WakeUpReceived(_Event, frozen=True, kw_only=True):
    """A signal for a suspense task (spec 3.16); ``data`` is a JSON object."""

    task: TaskName
    data: bytes = b"{}"


class TimerFired(_Event, frozen=True, kw_only=True):
    """A timer that the execution set has come due; ``due_ms`` identifies it."""

    kind: str
    task: TaskName
    due_ms: int


class RedoRequested(_Event, frozen=True, kw_only=True):
    """Run tasks again (spec 3.17); without names, everything that has not succeeded.

    With ``failed_only`` names are those of instances, no names means everything that failed, and
    what succeeded inside a foreach, choice or sub-flow is kept. None is in journals of releases
    whose redo did not notify the parent, and otherwise means False. ``order`` counts the requests
    of the parent for this sub-flow; 0 is a request from outside. With ``exact`` unknown names of
    instances are refused; journals of releases that ignored them lack it. ``parent`` is the
    execution that requests it, which counts only if it has started this one. ``by`` is as in
    ``PauseRequested``.
    """

    tasks: tuple[TaskName, ...] = ()
    data: bytes = b"{}"
    failed_only: bool | None = None
    order: int = 0
    exact: bool = False
    parent: ExecutionId | None = None
    by: str = ""


class DegradeRequested(_Event, frozen=True, kw_only=True):
    """Set the degrade switches of a task that has not started yet.

    ``by`` is as in ``PauseRequested``.
    """

    task: TaskName
    current: bool
    followings: bool
    by: str = ""


class CompletionRequested(_Event, frozen=True, kw_only=True):
    """End the execution by hand (spec 3.18); ``by`` is as in ``PauseRequested``."""

    success: bool
    by: str = ""


class CancelRequested(_Event, frozen=True, kw_only=True):
    """Stop the execution: no more calls are dispatched, and its sub-flows are cancelled.

    ``parent`` is the execution that requests it, which counts only if it has started this one; None
    is a request from outside. ``by`` is as in ``PauseRequested``.
    """

    parent: ExecutionId | None = None
    by: str = ""


class PauseRequested(_Event, frozen=True, kw_only=True):
    """Start nothing more until the execution is resumed.

    ``by`` is the name of the key with which it was requested. It is empty for the key of the
    settings, without a key, and in records of older releases.
    """

    by: str = ""


class ResumeRequested(_Event, frozen=True, kw_only=True):
    """Continue after a pause; ``by`` is as in ``PauseRequested``."""

    by: str = ""


class NoticeDelivered(_Event, frozen=True, kw_only=True):
    """A notice reached its receiver, or its delivery was given up.

    ``kind`` is ``parent``, ``redone`` (the parent knows that a redo has restarted this execution),
    ``completion``, ``cancel`` or ``redo``. ``attempt`` identifies the notice among those of an
    execution that ended several times; None, in old journals, is the last. ``child`` is the
    sub-flow that was cancelled, or redone for ``task``.
    """

    kind: str
    error: str | None = None
    attempt: int | None = None
    child: ExecutionId | None = None
    task: TaskName = ""


Event: TypeAlias = (
    ExecutionSubmitted
    | DispatchAnswered
    | CallbackReceived
    | ProgressReported
    | WakeUpReceived
    | TimerFired
    | RedoRequested
    | DegradeRequested
    | CompletionRequested
    | CancelRequested
    | PauseRequested
    | ResumeRequested
    | NoticeDelivered
)


def is_posted(log: str) -> bool:
    """Tell whether a log is text that a function has posted, and no place in the files of Ray."""
    return log.startswith(_POSTED)
