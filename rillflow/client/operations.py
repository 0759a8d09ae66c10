"""What a client can ask of a stack, whatever the way there.

A transport performs one operation at a time and returns its answer, which each class
names; it raises the error of ``rillflow.errors`` that the stack answered with.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from rillflow.ids import ExecutionId
from rillflow.jsontypes import JsonObject

Isolation: TypeAlias = Literal["shared", "dedicated"]
Part: TypeAlias = Literal["execution", "brief", "children"]
Order: TypeAlias = Literal["cancel", "pause", "resume"]
RedoneStatus: TypeAlias = Literal["failed", "running"]


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

    Submissions of a feature with one ``idempotency_key`` and equal data are one.
    """

    descriptor_id: str
    data: JsonObject
    callback: str | JsonObject | None = None
    isolation: Isolation | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """Read an execution; answers a JSON object, or None for what does not exist.

    ``brief`` leaves the tasks out. ``children`` is the members of the group ``index``
    of the task ``parent``. With ``wait_s`` the answer comes when the execution has
    ended, or after so many seconds.
    """

    execution_id: ExecutionId
    part: Part = "execution"
    parent: str = ""
    index: int = 0
    wait_s: float = 0.0


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
    """Run tasks again; no names means all unfinished ones. Answers nothing."""

    execution_id: ExecutionId
    tasks: tuple[str, ...]
    data: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """Cancel, pause or resume an execution; answers nothing."""

    execution_id: ExecutionId
    order: Order


@dataclass(frozen=True, slots=True, kw_only=True)
class ListExecutions:
    """List executions, newest first; answers a list of ``ListedExecution``.

    None means any. Times are submit times in milliseconds since the epoch, inclusive.
    """

    business: str | None = None
    feature: str | None = None
    status: str | None = None
    code: str | None = None
    from_ms: int | None = None
    to_ms: int | None = None
    page: int = 1
    page_size: int = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RedoMany:
    """Do the newest executions of a service again; answers nothing.

    Over HTTP the answer comes at once, and the server goes on with it.
    """

    business: str
    feature: str
    status: RedoneStatus = "failed"
    code: str | None = None
    tasks: tuple[str, ...] = ()
    limit: int = 100
    per_second: int = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """Let some time pass; answers nothing."""

    seconds: float


Request: TypeAlias = (
    AddDescriptor | Submit | Read | WakeUp | Finish | Redo | Control | ListExecutions | RedoMany
)
Operation: TypeAlias = Request | Rest
