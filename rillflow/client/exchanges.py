"""The exchanges of a client with a stack, independent of the transport.

Each is a generator that yields an operation, is sent its answer, and returns what the caller wants.
``run`` and ``run_async`` run one over a transport, so an exchange is written once for HTTP and Ray,
sync and async.

Used by `client`.
"""

import asyncio
import time
from collections.abc import Callable, Generator
from typing import Any, Final, Protocol, TypeAlias, TypeVar

from rillflow.backoff import Backoff
from rillflow.client.operations import (
    Control,
    Finish,
    Operation,
    Read,
    Redo,
    Request,
    Rest,
    WakeUp,
)
from rillflow.core.status import DAG_COMPLETED, DagStatus, TaskStatus
from rillflow.errors import (
    ExecutionError,
    ExecutionFailedError,
    ExecutionTimeoutError,
    RequestError,
    RillflowError,
    ServerError,
    UnknownExecutionError,
)
from rillflow.ids import ExecutionId
from rillflow.jsontypes import JsonObject, JsonValue
from rillflow.plain_words import reasons_of

T = TypeVar("T")
Exchange: TypeAlias = Generator[Operation, Any, T]

LONGEST_POLL_S: Final = 20.0
"""How long one request waits for the end of an execution; front ends cut longer ones."""

FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 2.0
"""Before asking again where a server answers before the wait is over, since too many wait."""
GRACE_S: Final = 1.0
"""How long after the end of a wait its last answer may come."""

MOST_GROUPS_READ: Final = 200_000
"""How many groups of an execution are read: four times what one has unless it is set otherwise."""
MOST_LEVELS: Final = 40
"""How many levels tasks may nest."""
MOST_READ_BYTES: Final = 1 << 30
"""How many bytes the groups of an execution may have together."""

LONGEST_INDEX: Final = 9
"""Digits of the index of a group."""

FAILED: Final = TaskStatus.FAILED.name


Settled: TypeAlias = dict[tuple[str, int, str], dict[str, JsonValue]]
"""Members of groups that are through, by task, index and status of the group."""


class Transport(Protocol):
    """A way to a stack."""

    def perform(self, request: Request) -> Any:
        """Perform one operation and return its answer."""
        ...

    def close(self) -> None:
        """Let go of what the way needs."""
        ...


class AsyncTransport(Protocol):
    """A way to a stack, for asyncio."""

    async def perform(self, request: Request) -> Any:
        """Perform one operation and return its answer."""
        ...

    async def close(self) -> None:
        """Let go of what the way needs."""
        ...


def run(transport: Transport, exchange: Exchange[T]) -> T:
    """Hold a conversation to its end."""
    try:
        operation = next(exchange)
        while True:
            try:
                answer = _perform(transport, operation)
            except RillflowError as error:
                operation = exchange.throw(error)
            else:
                operation = exchange.send(answer)
    except StopIteration as end:
        result: T = end.value
        return result


def _perform(transport: Transport, operation: Operation) -> Any:
    if isinstance(operation, Rest):
        return time.sleep(operation.seconds)
    return transport.perform(operation)


async def run_async(transport: AsyncTransport, exchange: Exchange[T]) -> T:
    """Hold a conversation to its end, for asyncio."""
    try:
        operation = next(exchange)
        while True:
            try:
                answer = await _perform_async(transport, operation)
            except RillflowError as error:
                operation = exchange.throw(error)
            else:
                operation = exchange.send(answer)
    except StopIteration as end:
        result: T = end.value
        return result


async def _perform_async(transport: AsyncTransport, operation: Operation) -> Any:
    if isinstance(operation, Rest):
        return await asyncio.sleep(operation.seconds)
    return await transport.perform(operation)


def ask(request: Request) -> Exchange[Any]:
    """Perform one operation, and that is all."""
    return (yield request)


def steer(request: WakeUp | Finish | Redo | Control) -> Exchange[Any]:
    """Perform an operation on an execution; where it is refused, look whether there is one.

    The refusals of Rill Flow have many words for an id that is not known.

    Raises:
        UnknownExecutionError: There is none of this id.
        RillflowError: The stack refused for another reason, or did not answer.
    """
    try:
        return (yield request)
    except (ExecutionError, RequestError) as refusal:
        try:
            view = yield Read(execution_id=request.execution_id, part="brief")
        except RillflowError:
            view = ()  # not known: the refusal stands
        if view is None:
            unknown = UnknownExecutionError(f"there is no execution {request.execution_id}")
            raise unknown from refusal
        raise


def read(
    execution_id: ExecutionId,
    *,
    brief: bool = False,
    wait_s: float = 0,
    within_s: float | None = None,
) -> Exchange[Any]:
    """Read an execution as ``get.json`` shows it.

    Raises:
        UnknownExecutionError: There is none of this id.
    """
    view = yield Read(
        execution_id=execution_id,
        part="brief" if brief else "execution",
        wait_s=wait_s,
        within_s=within_s,
    )
    if view is None:
        raise UnknownExecutionError(f"there is no execution {execution_id}")
    return view


def context(execution_id: ExecutionId) -> Exchange[JsonObject]:
    """Read the context of an execution."""
    view = yield from read(execution_id, brief=True)
    found: JsonObject = view.get("context") or {}
    return found


def status(execution_id: ExecutionId) -> Exchange[str]:
    """Read the status of an execution."""
    return status_of((yield from read(execution_id, brief=True)))


def status_of(view: JsonObject) -> str:
    """Return the status in a view of an execution.

    Raises:
        ServerError: There is none.
    """
    dag_status = view.get("dag_status")
    if not isinstance(dag_status, str):
        raise ServerError("the answer is not Rillflow's: the execution has no status")
    return dag_status


def has_ended(dag_status: str) -> bool:
    """Tell whether an execution with this status will not go on by itself."""
    return DAG_COMPLETED[DagStatus[dag_status]]


def result(execution_id: ExecutionId, timeout_s: float) -> Exchange[JsonObject]:
    """Wait for the end and return the context that the execution ended with.

    Raises:
        UnknownExecutionError: There is none of this id.
        ExecutionFailedError: It failed.
        ExecutionTimeoutError: It had not ended in time.
    """
    give_up = time.monotonic() + timeout_s
    left_s, backoff = max(timeout_s, 0), Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
    while True:
        asked_s = time.monotonic()
        wait_s = min(left_s, LONGEST_POLL_S)
        within_s = left_s + GRACE_S
        view = yield from read(execution_id, brief=True, wait_s=wait_s, within_s=within_s)
        if has_ended(status_of(view)):
            break
        if time.monotonic() - asked_s < wait_s / 2:
            yield Rest(seconds=max(min(backoff.next_s(), give_up - time.monotonic()), 0))
        left_s = give_up - time.monotonic()
        if left_s <= 0:
            raise ExecutionTimeoutError(execution_id, timeout_s)
    if view["dag_status"] == FAILED:
        yield from _raise_failure(execution_id, view.get("dag_invoke_msg") or {})
    ended_with: JsonObject = view.get("context") or {}
    return ended_with


def _raise_failure(execution_id: ExecutionId, invoke: JsonObject) -> Exchange[None]:
    found = yield from tasks(execution_id, failed=True)
    failed = tuple(name for name, task in found.items() if _field(task, "status") == FAILED)
    reason, code = invoke.get("msg"), invoke.get("code")
    messages = [_field(found[name], "invoke_msg") for name in failed]
    if reason is None:
        message = messages[-1] if messages else None
        reason, hint = _field(message, "msg"), _field(message, "hint")
    else:
        hint = invoke.get("hint") or _hint_of(str(reason), messages)
    if reason is None and isinstance(hint, str):
        reason, hint = hint, None
    error = ExecutionFailedError(
        execution_id,
        tasks=failed,
        reason=None if reason is None else str(reason),
        reason_code=None if code is None else str(code),
    )
    if isinstance(hint, str) and reasons_of(str(reason), hint)[1]:
        error.with_hint(hint)
    raise error


def _hint_of(reason: str, messages: list[JsonValue]) -> JsonValue:
    """Return the hint of a task that failed for this reason; another task's is none of it."""
    hints = (_field(message, "hint") for message in messages if _field(message, "msg") == reason)
    return next((hint for hint in hints if hint), None)


def tasks(execution_id: ExecutionId, *, failed: bool = False) -> Exchange[dict[str, JsonValue]]:
    """Read every task, the members of groups too, by its full name; or those that failed."""
    view = yield from read(execution_id)
    choose = _not_well if failed else _all
    found = yield from with_members(execution_id, view.get("tasks") or {}, {}, choose)
    if failed:
        return {name: one for name, one in found.items() if _field(one, "status") == FAILED}
    return found


Groups: TypeAlias = list[tuple[int, str]]
"""Indexes of groups, with their status."""


def _all(groups: Groups) -> Groups:
    return groups


def _not_well(groups: Groups) -> Groups:
    """Choose the groups in which something may have failed."""
    return [(index, status) for index, status in groups if status in (FAILED, "RUNNING")]


def task(execution_id: ExecutionId, name: str) -> Exchange[JsonObject | None]:
    """Read one task by its full name; None where there is none of this name."""
    route, _, _ = name.rpartition("-")
    if route:
        parent, _, index = route.rpartition("_")
        if not parent or not index.isdecimal() or len(index) > LONGEST_INDEX:
            return None
        members = yield Read(
            execution_id=execution_id, part="children", parent=parent, index=int(index)
        )
        found = (members or {}).get(name)
    else:
        view = yield from read(execution_id)
        found = (view.get("tasks") or {}).get(name)
    return found if isinstance(found, dict) else None


def with_members(
    execution_id: ExecutionId,
    top: dict[str, JsonValue],
    settled: Settled,
    choose: Callable[[Groups], Groups] = _all,
) -> Exchange[dict[str, JsonValue]]:
    """Add the members of groups, each right after the task whose group it is in.

    Groups in ``settled`` are not read again while their status is the same; those that will
    not change any more, unless by a redo, are put there. ``choose`` tells of the groups of a
    task which ones to read.
    """
    found: dict[str, JsonValue] = {}
    bound = _ReadBound()
    waiting = [(name, task, 1) for name, task in reversed(top.items())]
    while waiting:
        name, task, level = waiting.pop()
        found[name] = task
        members: dict[str, JsonValue] = {}
        for index, group_status in choose(_groups(task)):
            group = settled.get((name, index, group_status))
            if group is None:
                request = Read(execution_id=execution_id, part="children", parent=name, index=index)
                group = (yield request) or {}
                bound.refuse_more(group, level)
                if is_final(group_status) and all(map(_is_settled, group.values())):
                    settled[name, index, group_status] = group
            members.update(group)
        waiting.extend((key, member, level + 1) for key, member in reversed(members.items()))
    return found


class _ReadBound:
    """Bounds what is read of one execution, whatever groups a server lists."""

    def __init__(self) -> None:
        self._groups = 0
        self._bytes = 0

    def refuse_more(self, group: dict[str, JsonValue], level: int) -> None:
        """Take note of a group of a task of this level.

        Raises:
            ServerError: It is beyond what an execution can have.
        """
        self._groups += 1
        self._bytes += getattr(group, "size_bytes", 0)
        for found, most, what in (
            (level, MOST_LEVELS, "levels of groups"),
            (self._groups, MOST_GROUPS_READ, "groups"),
            (self._bytes, MOST_READ_BYTES, "bytes of groups"),
        ):
            if found > most:
                raise ServerError(f"the server lists more than {most:,} {what} of this execution")


def is_final(task_status: str) -> bool:
    """Tell whether a task or group with this status, as ``get.json`` spells it, is through."""
    return task_status in _FINAL


_FINAL: Final = ("SUCCEEDED", "SUCCEED", "FAILED", "SKIPPED")


def _is_settled(task: JsonValue) -> bool:
    return is_final(str(_field(task, "status"))) and all(
        is_final(group_status) for _, group_status in _groups(task)
    )


def _groups(task: JsonValue) -> Groups:
    groups = _field(task, "sub_group_index_to_status")
    if not isinstance(groups, dict):
        return []
    return [(int(index), str(group_status)) for index, group_status in groups.items()]


def _field(value: JsonValue, name: str) -> JsonValue:
    return value.get(name) if isinstance(value, dict) else None
