"""The types of what a server answers, checked before a client or the command line relies on them.

Only the fields that clients read are named; others may be anything. A text, a number or a status
may otherwise be of a type that a later step does not expect, whatever the server is.

Used by `client/http_transport/wire.py`.
"""

from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from rillflow.core.status import DagStatus
from rillflow.ports.storage.store import LATEST_MS

_DAY_MS: Final = 86_400_000
_LARGEST: Final = 2**53

Moment: TypeAlias = Annotated[int, Meta(ge=0, le=LATEST_MS - 2 * _DAY_MS)]
"""Milliseconds since the epoch; a date of four digits in every zone."""
Count: TypeAlias = Annotated[int, Meta(ge=0, le=_LARGEST)]
Number: TypeAlias = Annotated[float, Meta(ge=-_LARGEST, le=_LARGEST)]
GroupIndex: TypeAlias = Annotated[str, Meta(pattern="^[0-9]{1,9}$")]
DagStatusName: TypeAlias = Literal[tuple(status.name for status in DagStatus)]  # type: ignore[valid-type]


class Time(Struct):
    """One attempt."""

    start_time: Moment
    end_time: Moment | None = None
    error: str | None = None


class Invoke(Struct):
    """What is known of the attempts of a task, or of an execution."""

    msg: str | None = None
    hint: str | None = None
    code: str | int | None = None
    invoke_time_infos: list[Time] | None = None


class RuleWarning(Struct):
    """A mapping rule without effect."""

    number: Count | None = None


class Reported(Struct):
    """What an attempt says of its progress."""

    fraction: Number | None = None


class Task(Struct):
    """A task instance."""

    status: str | None = None
    invoke_msg: Invoke | None = None
    progress: Reported | None = None
    sub_group_index_to_status: dict[GroupIndex, str] | None = None
    mapping_warnings: Count | None = None
    warnings: list[RuleWarning] | None = None


class Execution(Struct):
    """An execution, with or without its tasks."""

    execution_id: str
    dag_status: DagStatusName | None = None
    process: Number | None = None
    context: dict[str, Any] | None = None
    dag_invoke_msg: Invoke | None = None
    mapping_warnings: Count | None = None
    warnings: list[RuleWarning] | None = None
    tasks: dict[str, Task] | None = None


class Stream(Struct):
    """What a task has written to one of its streams."""

    name: Literal["out", "err"]
    text: str
    is_cut: bool


class Listed(Struct):
    """A line of a list."""

    execution_id: str
    status: str
    submit_time: Moment
    business_id: str
    feature_id: str


class Actor(Struct):
    """An actor of the deployment."""

    name: str
    node: str
    ready: bool
    current: bool
    calls: Count
    partitions: Count
    hot: Count | None = None


class Reason(Struct):
    """Why the deployment is not as wanted."""

    message: str


class Controller(Struct):
    """What the controller says."""

    reasons: list[Reason] = []
    causes: list[Any] = []


class Cluster(Struct):
    """The actors beside what is wanted."""

    converged: bool
    actors: list[Actor]
    silent: list[str]
    wanted: dict[str, Any] = {}
    controller: Controller = msgspec.field(default_factory=Controller)


class Host(Struct):
    """A host of gateways, as a dispatcher sees it."""

    name: str
    state: str
    under_way: Count
    waiting: Count
    held: Count
    rate_per_s: Number | None = None


class Problem(Struct):
    """Something that is not well."""

    kind: str
    subject: str
    detail: dict[str, Any]


class Bucket(Struct):
    """Executions that were submitted in a span of time."""

    succeeded: Count = 0
    failed: Count = 0


class LastHour(Struct):
    """The executions of the last hour."""

    counts: dict[str, Count]
    buckets: Annotated[list[Bucket], Meta(max_length=1_000)]


class Readiness(Struct):
    """Whether requests are taken."""

    ready: bool


class Operations(Struct):
    """The state of a server."""

    problems: list[Problem]
    last_hour: LastHour
    hosts: list[Host]
    cluster: Cluster
    readiness: Readiness


class Key(Struct):
    """An API key, without the key."""

    name: str
    role: str
    valid: bool
    key_id: str = ""
    workspaces: list[str] = []
    expires_at_ms: int | None = None
    revoked_at_ms: int | None = None


class NewKey(Key):
    """A key that was just made."""

    key: str = ""


class Keys(Struct):
    """All keys."""

    keys: list[Key]


class RevokedKey(Struct):
    """A key that has ended."""

    name: str


class AuditEntry(Struct):
    """One change."""

    at_ms: int
    action: str
    subject: str = ""
    key: str = ""
    address: str = ""
    status: int = 0


class Audit(Struct):
    """A page of the audit."""

    entries: list[AuditEntry]
    next: int | None = None


class TracedSpan(Struct):
    """One span of a trace."""

    id: str
    parent: str
    kind: str
    name: str
    task: str
    attempt: Count
    from_ms: Moment
    to_ms: Moment | None
    status: str
    error: str | None = None


class Trace(Struct):
    """The spans of an execution."""

    execution_id: str
    spans: list[TracedSpan]
    at_ms: Moment
    round: Count
    tasks_left_out: Count
    trace_id: str | None = None


class Wait(Struct):
    """What a task waits for, or the execution itself."""

    task: str
    sentence: str


class Waits(Struct):
    """What an execution waits for."""

    waits: list[Wait]


class Trigger(Struct):
    """A trigger, as a list has it."""

    id: str
    type: str
    descriptor_id: str
    paused: bool
    fired: Count
    skipped: Count
    error: str
    cron: str | None = None
    time_zone: str | None = None
    next_ms: Moment | None = None
    path: str | None = None
    state: str | None = None
    state_ms: Moment | None = None
    state_reason: str | None = None


class Triggers(Struct):
    """A page of triggers."""

    triggers: list[Trigger]
    next: str | None = None


class Fired(Struct):
    """The execution that a trigger has started."""

    execution_id: str


class FiredSpan(Struct):
    """The executions of a span."""

    execution_ids: list[str]


TRIGGER_ANSWERS: Final[dict[str, type[Triggers | Fired | FiredSpan]]] = {
    "list": Triggers,
    "fire": Fired,
    "backfill": FiredSpan,
}
KEY_ANSWERS: Final[dict[str, type[NewKey | Keys | RevokedKey | Audit]]] = {
    "add": NewKey,
    "list": Keys,
    "revoke": RevokedKey,
    "audit": Audit,
}


def check(value: object, shape: Any) -> Any:
    """Return a value as it is if it has a shape.

    Raises:
        TypeError: It has not; the text tells the place.
    """
    try:
        msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        raise TypeError(str(error)) from error
    return value
