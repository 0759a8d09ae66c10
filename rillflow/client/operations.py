"""The operations of a stack, independent of the transport.

A transport performs one operation at a time and returns its answer, which each class names; it
raises the error of ``rillflow.errors`` that the stack answered with.

A request has one form, so it means the same over every transport: blank values count as absent, and
names have no spaces around them.

Used by `cli/commands/control.py`, `cli/output`, `client` and `rillflow/__init__.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

from rillflow.core.status import DagStatus
from rillflow.errors import RequestError
from rillflow.ids import ExecutionId
from rillflow.jsontypes import JsonObject
from rillflow.ports.storage.store import LATEST_MS

Isolation: TypeAlias = Literal["shared", "dedicated"]
Part: TypeAlias = Literal["execution", "brief", "children"]
Order: TypeAlias = Literal["cancel", "pause", "resume"]
KeyAction: TypeAlias = Literal["add", "list", "revoke", "audit"]
RedoneStatus: TypeAlias = Literal["failed", "running"]
TriggerAction: TypeAlias = Literal[
    "add", "list", "show", "pause", "resume", "fire", "backfill", "remove"
]

STATUSES: Final = tuple(status.name.lower() for status in DagStatus)


class ListedExecution(NamedTuple):
    """One line of a list of executions.

    ``status`` is NOT_STARTED, RUNNING, KEY_SUCCEED, SUCCEED or FAILED; the time is in
    milliseconds since the epoch.
    """

    id: ExecutionId
    status: str
    submitted_at_ms: int
    business: str
    feature: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AddDescriptor:
    """Store a definition; answers its descriptor id."""

    business: str
    feature: str
    alias: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Submit:
    """Start an execution; answers its id. ``callback`` is a URL or a CallbackConfig.

    Submissions of a feature with one ``idempotency_key`` and equal data are one; a blank
    key is none.
    """

    descriptor_id: str
    data: JsonObject
    callback: str | JsonObject | None = None
    isolation: Isolation | None = None
    idempotency_key: str | None = None

    def __post_init__(self) -> None:
        """Take a blank key for none: the stack would not recognize a repetition by it."""
        if _stripped(self.idempotency_key) is None:
            object.__setattr__(self, "idempotency_key", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """Read an execution; answers a JSON object, or None for what does not exist.

    ``brief`` leaves the tasks out. ``children`` is the members of the group ``index``
    of the task ``parent``. With ``wait_s`` the answer comes when the execution has
    ended, or after so many seconds. With ``within_s`` it counts as missing after so many,
    even where a way would wait for longer.
    """

    execution_id: ExecutionId
    part: Part = "execution"
    parent: str = ""
    index: int = 0
    wait_s: float = 0.0
    within_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadLog:
    """Read what the last attempt of a task has printed; answers a list of objects, or None.

    An object has the ``name`` of the stream, ``out`` or ``err``, its ``text``, and ``is_cut``.
    """

    execution_id: ExecutionId
    task: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadTrace:
    """Read the spans of an execution; answers a JSON object (docs/console-api.md)."""

    execution_id: ExecutionId


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadWaits:
    """Read what an execution waits for, or one task; answers a JSON object.

    See docs/console-api.md.
    """

    execution_id: ExecutionId
    task: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WakeUp:
    """Send a signal to a suspense task; answers nothing."""

    execution_id: ExecutionId
    task: str
    data: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """Report the outcome of a task; answers False for a repetition that changed nothing."""

    execution_id: ExecutionId
    task: str
    output: JsonObject
    failed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Redo:
    """Run what failed again, or the named instances; answers nothing.

    What succeeded inside a foreach, choice or sub-flow is kept. With ``whole`` it is as Rill
    Flow does it: no names means all unfinished tasks, a name is one of the top level, and all
    that is inside of it runs again.

    Raises:
        RequestError: A name is blank.
    """

    execution_id: ExecutionId
    tasks: tuple[str, ...]
    data: JsonObject
    whole: bool = False

    def __post_init__(self) -> None:
        """Refuse blank names: they would be dropped, and none left means all tasks."""
        object.__setattr__(self, "tasks", _names(self.tasks))


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """Cancel, pause or resume an execution; answers nothing."""

    execution_id: ExecutionId
    order: Order


@dataclass(frozen=True, slots=True, kw_only=True)
class ListExecutions:
    """List executions, newest first; answers a list of ``ListedExecution``.

    None and blank mean any. Times are submit times in milliseconds since the epoch, inclusive.
    ``context`` are names and values of search keys.

    Raises:
        RequestError: There is no such status, which a server takes for any, or no such time.
    """

    business: str | None = None
    feature: str | None = None
    status: str | None = None
    code: str | None = None
    from_ms: int | None = None
    to_ms: int | None = None
    page: int = 1
    page_size: int = 20
    context: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        """Bring what is asked for into its one form."""
        for name in ("business", "feature", "status", "code"):
            object.__setattr__(self, name, _stripped(getattr(self, name)))
        if self.status is not None:
            object.__setattr__(self, "status", _status(self.status))
        for time_ms in (self.from_ms, self.to_ms):
            if time_ms is not None and not 0 <= time_ms <= LATEST_MS:
                raise RequestError(f"a time is 0 to {LATEST_MS} milliseconds, not {time_ms}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RedoMany:
    """Do the newest executions of a service again; answers nothing.

    Over HTTP the answer comes at once, and the server goes on with it. A blank code is any.
    ``whole`` is that of ``Redo``.

    Raises:
        RequestError: A task's name is blank.
    """

    business: str
    feature: str
    status: RedoneStatus = "failed"
    code: str | None = None
    tasks: tuple[str, ...] = ()
    limit: int = 100
    per_second: int = 30
    whole: bool = False

    def __post_init__(self) -> None:
        """Bring the code into its one form, and refuse blank names as ``Redo`` does."""
        object.__setattr__(self, "code", _stripped(self.code))
        object.__setattr__(self, "tasks", _names(self.tasks))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadCluster:
    """Show the actors beside what is wanted; answers a JSON object as ``cluster.json`` does.

    With ``whole`` it shows the whole stack instead, as ``operations.json`` of the console does.
    """

    executions: tuple[ExecutionId, ...] = ()
    whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRequest:
    """Make, list or revoke API keys, or read the audit; answers a JSON object as the route does."""

    action: KeyAction
    query: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerRequest:
    """Add, list, show, change or fire triggers; answers a JSON object as the HTTP API does."""

    action: TriggerAction
    query: tuple[tuple[str, str], ...] = ()
    body: JsonObject | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """Let some time pass; answers nothing."""

    seconds: float


Request: TypeAlias = (
    AddDescriptor
    | Submit
    | Read
    | ReadLog
    | ReadTrace
    | ReadWaits
    | WakeUp
    | Finish
    | Redo
    | Control
    | ListExecutions
    | RedoMany
    | ReadCluster
    | KeyRequest
    | TriggerRequest
)
Operation: TypeAlias = Request | Rest


def _stripped(text: str | None) -> str | None:
    return (text or "").strip() or None


def _status(text: str) -> str:
    name = text.lower()
    if name not in STATUSES:
        raise RequestError(f"there is no status {text}; one of {', '.join(STATUSES)} is meant")
    return name


def named_tasks(tasks: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names that a caller gives; none, which mean all that failed, for None.

    Raises:
        RequestError: It is a text, whose letters would be taken for names, or it is empty,
            as a list of what has failed may be: that must not begin all that is under way anew.
    """
    if isinstance(tasks, str):
        raise RequestError(f"a list of names is wanted: [{tasks!r}]")
    if tasks is not None and not tasks:
        raise RequestError("the list names no task; None means all that failed")
    return tuple(tasks or ())


def _names(tasks: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(task.strip() for task in tasks)
    if not all(names):
        raise RequestError("the name of a task is blank")
    return names
