"""Facts that reach an execution; its journal is the list of those it accepted.

Events are in the past tense and carry ``at_ms``, milliseconds since the epoch:
the core reads no clock. JSON values travel as JSON text, so that an event is
encoded and decoded without touching them.
"""

from typing import Final, TypeAlias, TypedDict

import msgspec

from rillflow.ids import ExecutionId, TaskName
from rillflow.language.versions import FIRST

CONTEXT_MAX_BYTES: Final = 8 * 1024 * 1024
"""Most that one save may change in a context, and most that one input may hold."""
FOREACH_MAX_ITEMS: Final = 20_000
"""Most items of one foreach: all its groups are made in one turn, while others wait."""
DESCENDANTS_MAX: Final = 1_000
"""Most sub-flows of an execution, theirs included, and theirs, at all levels."""


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
    """Which of the notices of a sub-flow to its parent a callback is.

    ``number`` counts its ends. ``redone`` tells that the sub-flow was begun again after one: a
    task that its failure ended waits for it again. With ``running`` it has begun again after
    the end of this number, and the callback brings no outcome.
    """

    number: int
    redone: bool = False
    running: bool = False

    @property
    def position(self) -> int:
        """The place in the order of all notices of a sub-flow, by which an old one is told."""
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


class ExecutionSubmitted(_Event, frozen=True, kw_only=True):
    """The first event. ``data`` is a JSON object; ``callback`` a CallbackConfig as JSON.

    ``host`` is the base of callback addresses that mappings hand out. ``uid`` is the
    submitter's, for A/B rules. The limits are those of the execution for as long as it
    lives (``ExecutionSettings``), and so is ``expected_callback_s``, after which a callback is
    overdue; None is never. ``id_key`` is the secret by which the ids of its sub-flows are
    derived; empty in old journals.
    With ``strict_mappings`` a rule of a mapping that comes to nothing fails its list.
    ``language`` is the version of the language whose rules hold; records without one are of
    the first. The limits of a turn, and that of tasks, are None in records of older releases,
    which had none.
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


class DispatchAnswered(_Event, frozen=True, kw_only=True):
    """The call of one attempt ended, well or not (spec 3.10).

    ``resource_name`` is the function that A/B rules chose, None when they had no say.
    ``poll`` is the number of the question for a result, 0 for the attempt itself; None
    is the one under way. ``hint`` says more about an error, where more is known.
    ``is_outcome`` tells that the body of an asynchronous call is its outcome already, as a
    callback would bring it.
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


class CallbackReceived(_Event, frozen=True, kw_only=True):
    """An outcome came from outside (spec 3.11); ``succeeded`` None follows conditions only.

    ``output`` is a JSON object. ``attempt`` None means the caller did not say.
    ``trigger`` marks those that came by ``trigger.json``, which wakes suspense tasks.
    ``sealed_attempt`` is the attempt that the checked seal of the address names, 0 where
    seals are asked for and there is none, None where nobody asks. ``sub_flow`` is there when
    a sub-flow sent it. ``failure`` says why the attempt has failed whatever its conditions say.
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


class WakeUpReceived(_Event, frozen=True, kw_only=True):
    """A signal for a suspense task (spec 3.16); ``data`` is a JSON object."""

    task: TaskName
    data: bytes = b"{}"


class TimerFired(_Event, frozen=True, kw_only=True):
    """A timer that the execution set has come due; ``due_ms`` tells which one."""

    kind: str
    task: TaskName
    due_ms: int


class RedoRequested(_Event, frozen=True, kw_only=True):
    """Run tasks again (spec 3.17); no names means everything unfinished.

    With ``failed_only`` names are those of instances, no names means everything that failed,
    and what succeeded inside a foreach, choice or sub-flow is kept. None is in journals of
    releases whose redo told no parent, and else means False. ``order`` counts the
    requests of the parent for this sub-flow, 0 is one from outside. ``exact`` has names of
    instances that there are not refused; journals of releases that passed them over lack it.
    """

    tasks: tuple[TaskName, ...] = ()
    data: bytes = b"{}"
    failed_only: bool | None = None
    order: int = 0
    exact: bool = False


class DegradeRequested(_Event, frozen=True, kw_only=True):
    """Set the degrade switches of a task that has not started yet."""

    task: TaskName
    current: bool
    followings: bool


class CompletionRequested(_Event, frozen=True, kw_only=True):
    """End the execution by hand (spec 3.18)."""

    success: bool


class CancelRequested(_Event, frozen=True, kw_only=True):
    """Stop the execution: nothing more is dispatched, children are cancelled."""


class PauseRequested(_Event, frozen=True, kw_only=True):
    """Start nothing more until resumed."""


class ResumeRequested(_Event, frozen=True, kw_only=True):
    """Go on after a pause."""


class NoticeDelivered(_Event, frozen=True, kw_only=True):
    """A notice reached its receiver, or was given up.

    ``kind`` is ``parent``, ``redone`` (the parent knows that a redo has begun this execution
    again), ``completion``, ``cancel`` or ``redo``. ``attempt`` tells which of the notices of an
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
