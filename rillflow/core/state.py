"""The state of one execution: JSON and plain data only, so that a snapshot can hold all of it.

The core changes it, `codec.py` encodes it, and `view.py` shows it. Task instances are kept in one
flat map, ``tasks``, by instance name; ``groups`` has one entry for each iteration of a foreach and
each branch of a choice, by route (spec 3.3).
"""

from typing import Any, Final, Protocol, TypeAlias, TypeVar

import msgspec

from rillflow.core.agenda import RemainingSteps
from rillflow.core.events import (
    CONTEXT_MAX_BYTES,
    DESCENDANTS_MAX,
    FOREACH_MAX_ITEMS,
    CallbackReceived,
    ParentLink,
    RouteStep,
)
from rillflow.core.status import DagStatus, TaskStatus
from rillflow.language.versions import FIRST
from rillflow.telemetry.trace_context import TraceParent, TraceStart, traceparent_of

LONGEST_ERROR: Final = 300
"""Limit of the characters that are kept of an attempt's failure message."""
NOTHING_SAID: Final = "it failed and said nothing about it"
KEPT_TIMES: Final = 100
"""How many of the first attempts, and of the last, are kept with their times."""
STATUS_COUNT = len(TaskStatus)

# The snapshot decoder does not support recursive types; these are JsonValue and JsonObject.
StoredValue: TypeAlias = Any
StoredObject: TypeAlias = dict[str, Any]
Struct = TypeVar("Struct", bound=msgspec.Struct)


class TimeInfo(msgspec.Struct, omit_defaults=True):
    """Start and end of one attempt, in milliseconds since the epoch.

    ``error`` is the failure message of this attempt, None if it has not failed. ``attempt`` is its
    number among the dispatches, 0 if there was none. ``called_ms`` is when it was dispatched, if
    not at its start, and ``answered_ms`` when its call was answered and left the outcome to come.
    ``sender`` is the span of the callback that brought it.
    """

    start_ms: int
    end_ms: int | None = None
    expected_cost: int | None = None
    error: str | None = None
    attempt: int = 0
    called_ms: int | None = None
    answered_ms: int | None = None
    sender: TraceParent | None = None


class InvokeMsg(msgspec.Struct, omit_defaults=True):
    """The attempts of a task (spec 5.3); ``output`` is the recorded output.

    ``hint`` explains the failure of the last call further than its message. ``time_infos`` has the
    first and the last attempts, ``times_left_out`` counts those between them.
    """

    invoke_id: str | None = None
    code: str | None = None
    msg: str | None = None
    input: StoredObject | None = None
    output: StoredObject | None = None
    referenced_execution_id: str | None = None
    progress_args: StoredObject | None = None
    ext: StoredObject | None = None
    hint: str | None = None
    time_infos: list[TimeInfo] = []
    times_left_out: int = 0

    @property
    def attempts(self) -> int:
        """The number of attempts, including those whose times are not kept."""
        return len(self.time_infos) + self.times_left_out

    def begin_time(self, at_ms: int) -> None:
        """Record the start of an attempt; beyond the limit, one in the middle is left out."""
        infos = self.time_infos
        infos.append(TimeInfo(start_ms=at_ms))
        excess = len(infos) - 2 * KEPT_TIMES
        if excess > 0:
            del infos[KEPT_TIMES : KEPT_TIMES + excess]
            self.times_left_out += excess

    def note_call(self, attempt: int, at_ms: int) -> None:
        """Record that the last attempt is dispatched, under its number."""
        info = self.time_infos[-1]
        info.attempt = attempt
        if info.start_ms != at_ms:
            info.called_ms = at_ms

    def note_answer(self, at_ms: int) -> None:
        """Record that the call of the last attempt was answered, and its outcome is to come."""
        self.time_infos[-1].answered_ms = at_ms

    def note_sender(self, sender: TraceParent | None) -> None:
        """Record which span has sent the outcome of the last attempt, if it says so."""
        if sender is not None and self.time_infos:
            self.time_infos[-1].sender = sender

    def note_error(self, error: str | None) -> None:
        """Keep the failure message of the last attempt; None if it has not failed."""
        if self.time_infos:
            self.time_infos[-1].error = None if error is None else error[:LONGEST_ERROR]

    def give_hint(self, hint: str) -> None:
        """Record why the last attempt failed, if nothing else says so."""
        self.hint = self.hint or hint
        if self.msg is None and self.time_infos and self.time_infos[-1].error is None:
            self.note_error(hint)

    def close_failed(self) -> None:
        """Give a failed attempt an error text if it has none."""
        if self.time_infos and self.time_infos[-1].error is None:
            self.time_infos[-1].error = NOTHING_SAID

    def quote(self, failed: "InvokeMsg") -> None:
        """Quote the failure of another task (spec Q68)."""
        self.code, self.msg, self.ext = failed.code, failed.msg, failed.ext
        self.hint = failed.hint


class RuleWarning(msgspec.Struct, frozen=True, array_like=True):
    """A mapping rule without effect.

    ``field`` is the list of the rule, ``number`` its place in the list from 1 (0 is the whole
    list), ``rule`` its source and target, ``kind`` the reason as one word, and ``reason`` the
    reason as a sentence.
    """

    field: str
    number: int
    rule: str
    kind: str
    reason: str


class Progress(msgspec.Struct, frozen=True, array_like=True):
    """How far an attempt has come by its own account; ``fraction`` None is not known."""

    at_ms: int
    fraction: float | None = None
    message: str = ""


class TaskState(msgspec.Struct, omit_defaults=True):
    """One task instance.

    ``waiting`` counts dependencies that are neither SUCCEED nor SKIPPED. ``attempt`` numbers the
    dispatches and never decreases, also when a redo makes the instance anew; ``spent`` is how many
    time infos an earlier budget of retries used (a redo starts a new budget). ``in_flight`` is true
    from a dispatch until its answer; a callback that arrives meanwhile is ``held``. ``abandoned``
    marks a foreach or choice that has timed out: nothing more starts in its groups. ``caught``
    marks a failure that another task handles.

    ``poll_url`` is the address at which the gateway is polled for the result, which must be public
    if ``polls_public``; ``polls`` counts how
    often it answered "not yet". ``poll_due_ms`` is the time of the next poll or, without an
    address, the time at which a callback is given up. ``armed_ms`` is when the delay or time-out
    was set, ``poll_armed_ms`` when the next poll was.

    ``warnings`` are the rules without effect in the last application of each list,
    ``warning_counts`` their number by list. ``most_groups`` is how many groups of a foreach may run
    at once. For the sub-flow of the present attempt, ``told`` is the position of its last notice
    that counted, and ``child_redos`` counts the requests to redo it; while ``redoing_child``, the
    last of them is still to be delivered. ``applied_at_start`` are the numbers of the output rules
    that had an effect when the sub-flow was started, and need have none at its end.
    ``output_bytes`` is what the text weighs in which ``invoke.output`` arrived, ``earlier_bytes``
    what those of earlier attempts did. ``progress`` is
    the last of the present attempt, or of the last one, and ``log`` the place of what it has
    printed. ``skipped`` is the set of successors that are not to run because of this instance, a
    bit for each by its place in the plan; ``skips`` has their names in states of earlier releases.
    ``collection`` are the elements of a foreach until a group is made for each; none starts before.
    """

    name: str
    base: str
    route: str = ""
    status: TaskStatus = TaskStatus.NOT_STARTED
    waiting: int = 0
    attempt: int = 0
    spent: int = 0
    in_flight: bool = False
    abandoned: bool = False
    held: CallbackReceived | None = None
    retry_after_s: float | None = None
    delay_due_ms: int | None = None
    timeout_due_ms: int | None = None
    skips: tuple[str, ...] = ()
    caught: bool = False
    poll_url: str | None = None
    polls: int = 0
    poll_due_ms: int | None = None
    routes: list[str] = []
    next_group: int = 0
    group_counts: list[int] = []
    invoke: InvokeMsg = msgspec.field(default_factory=InvokeMsg)
    armed_ms: int | None = None
    poll_armed_ms: int | None = None
    warnings: tuple[RuleWarning, ...] = ()
    warning_counts: dict[str, int] = {}
    most_groups: int | None = None
    told: int = 0
    child_redos: int = 0
    redoing_child: bool = False
    applied_at_start: tuple[int, ...] = ()
    output_bytes: int = 0
    polls_public: bool = False
    progress: Progress | None = None
    log: str | None = None
    skipped: bytes = b""
    earlier_bytes: int = 0
    collection: list[StoredValue] | None = None

    def forget_call(self) -> None:
        """Forget what is known of the call of the last attempt, before another one is made."""
        self.retry_after_s = self.invoke.hint = self.progress = self.log = None
        self.poll_url, self.polls = None, 0
        self.told, self.child_redos, self.redoing_child = 0, 0, False
        self.applied_at_start = ()

    def skip_successors(self, bits: int) -> None:
        """Set which successors are not to run, as a set of the plan's."""
        self.skipped = bits.to_bytes((bits.bit_length() + 7) // 8, "little")

    def is_skipping(self, place: int, name: str) -> bool:
        """Tell whether the successor at a place in the plan is not to run."""
        byte = place >> 3
        is_set = byte < len(self.skipped) and self.skipped[byte] >> (place & 7) & 1
        return bool(is_set) or (bool(self.skips) and name in self.skips)

    @property
    def group_count(self) -> int:
        """The number of its groups, including those still to be made."""
        return len(self.routes if self.collection is None else self.collection)

    @property
    def mapping_warnings(self) -> int:
        """The number of rules without effect in the last application of each list."""
        return sum(self.warning_counts.values()) if self.warning_counts else 0


class GroupState(msgspec.Struct, omit_defaults=True):
    """One iteration or branch, with its own context; ``counts`` is by status of its members.

    ``context_bytes`` is an estimate of the size of the context, and no less than that.
    """

    route: str
    parent: str
    index: int
    status: TaskStatus = TaskStatus.NOT_STARTED
    context: StoredObject = {}
    identity: StoredValue = None
    branch: int = 0
    members: list[str] = []
    counts: list[int] = msgspec.field(default_factory=lambda: [0] * STATUS_COUNT)
    context_bytes: int = 0


class DegradeSwitch(msgspec.Struct):
    """Degrade switches set while the execution runs."""

    current: bool
    followings: bool


class ExecutionState(msgspec.Struct, omit_defaults=True):
    """The whole state of an execution; ``seq`` counts the events that it has accepted.

    ``parent_notice`` and ``completion`` (the body of the completion callback) are set from the end
    until they are delivered; their attempts count the ends. ``uncancelled`` are sub-flows that have
    not been cancelled yet. ``attempts_dropped`` is the highest attempt of an instance that a redo
    dropped; new instances continue from there. ``timeout_armed_ms`` is when the time-out was set.

    The limits, ``expected_callback_s`` and the secret ``id_key`` are those of the submission, and
    so are ``strict_mappings``, which turns rules without effect into failures, and
    ``foreach_in_portions``. A limit of a turn, or
    of tasks, that is None sets no limit. ``remaining`` are the steps that the last event left to a
    later one.

    ``warnings`` are those of the completion callback; ``mapping_warnings`` counts them and those of
    all instances, ``warnings_kept`` how many of the latter are kept, and ``warnings_by_list`` how
    many of each rule, by its number in each mapping list of the definition. ``redone`` tells
    whether the execution was restarted after an end; ``redo_order`` is its parent's last request to
    do so.
    ``progress_ms`` is when a task last reported its progress; ``log_characters`` counts those of
    all logs that were posted and kept. ``paused_ms`` is since when it is paused, None if it is not,
    or was by an older release. ``paused_by`` and ``cancelled_by`` are the ``by`` of those requests.
    ``language`` is the language version. ``trace`` is the trace of the execution, None if it has
    none. ``context_bytes`` is an estimate of the size of the context, and no less than that.
    ``outputs_bytes`` is the sum of ``output_bytes`` and ``earlier_bytes`` of all
    tasks, and ``made_bytes`` the size of what all turns have made: contexts and inputs together are
    no larger.
    """

    execution_id: str
    definition_id: str
    host: str
    status: DagStatus = DagStatus.NOT_STARTED
    seq: int = 0
    paused: bool = False
    cancelled: bool = False
    dedicated: bool = False
    context: StoredObject = {}
    invoke: InvokeMsg = msgspec.field(default_factory=InvokeMsg)
    timeout_due_ms: int | None = None
    parent: ParentLink | None = None
    route: tuple[RouteStep, ...] = ()
    callback: StoredObject | None = None
    parent_notice: CallbackReceived | None = None
    completion: bytes | None = None
    completion_attempt: int = 0
    parked: list[str] = []
    attempts_dropped: int = 0
    degrades: dict[str, DegradeSwitch] = {}
    tasks: dict[str, TaskState] = {}
    groups: dict[str, GroupState] = {}
    counts: list[int] = msgspec.field(default_factory=lambda: [0] * STATUS_COUNT)
    uid: int = 0
    parent_attempt: int = 0
    uncancelled: list[str] = []
    timeout_armed_ms: int | None = None
    context_max_bytes: int = CONTEXT_MAX_BYTES
    foreach_max_items: int = FOREACH_MAX_ITEMS
    expected_callback_s: float | None = None
    id_key: bytes = b""
    max_descendants: int = DESCENDANTS_MAX
    strict_mappings: bool = False
    warnings: tuple[RuleWarning, ...] = ()
    mapping_warnings: int = 0
    warnings_kept: int = 0
    redone: bool = False
    redo_order: int = 0
    language: int = FIRST
    turn_max_steps: int | None = None
    turn_max_bytes: int | None = None
    outputs_bytes: int = 0
    made_bytes: int = 0
    turn_max_task_steps: int | None = None
    execution_max_tasks: int | None = None
    remaining: RemainingSteps | None = None
    progress_ms: int | None = None
    trace: TraceStart | None = None
    log_characters: int = 0
    paused_ms: int | None = None
    paused_by: str = ""
    cancelled_by: str = ""
    context_bytes: int = 0
    foreach_in_portions: bool = False
    warnings_by_list: dict[str, dict[int, int]] = {}

    def traceparent_of(self, task: str, attempt: int) -> str | None:
        """Return the header ``traceparent`` of a call; None if the execution has no trace."""
        trace = self.trace
        return None if trace is None else traceparent_of(trace, self.execution_id, task, attempt)

    def __post_init__(self) -> None:
        """Use the shared default limits, so that a snapshot omits them."""
        if self.context_max_bytes == CONTEXT_MAX_BYTES:
            self.context_max_bytes = CONTEXT_MAX_BYTES
        if self.foreach_max_items == FOREACH_MAX_ITEMS:
            self.foreach_max_items = FOREACH_MAX_ITEMS
        if self.max_descendants == DESCENDANTS_MAX:
            self.max_descendants = DESCENDANTS_MAX


class _CloneMethod(Protocol):
    def __call__(self, struct: Struct, /) -> Struct: ...


_copy: _CloneMethod = msgspec.Struct.__copy__  # type: ignore[attr-defined]  # the stubs omit it
"""Copies a struct in a quarter of the time of ``copy.copy``; there may be 50,000 tasks."""


def copied(state: ExecutionState) -> ExecutionState:
    """Return a state that does not change, for readers outside the event loop.

    Values are shared, since they never change.
    """
    kept = _copy(state)
    kept.invoke = _copied_invoke(state.invoke)
    kept.tasks = {name: _copied_task(task) for name, task in state.tasks.items()}
    kept.groups = {route: _copy(group) for route, group in state.groups.items()}
    kept.counts = state.counts.copy()
    kept.warnings_by_list = {name: each.copy() for name, each in state.warnings_by_list.items()}
    kept.degrades = {name: _copy(switch) for name, switch in state.degrades.items()}
    return kept


def _copied_task(task: TaskState) -> TaskState:
    kept = _copy(task)
    invoke = kept.invoke = _copy(task.invoke)
    invoke.time_infos = [_copy(info) for info in invoke.time_infos]
    kept.routes = task.routes.copy()
    kept.group_counts = task.group_counts.copy()
    return kept


def _copied_invoke(invoke: InvokeMsg) -> InvokeMsg:
    kept = _copy(invoke)
    kept.time_infos = [_copy(info) for info in invoke.time_infos]
    return kept
