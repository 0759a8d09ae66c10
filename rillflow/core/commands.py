"""The commands that the core returns: calls, timers, notices, announcements.

`runtime/commands` carries them out. A command is outstanding until an event answers it. After a
restart ``machine.outstanding`` yields the unanswered commands again with the same attempt numbers,
so that their receivers recognize a repetition.
"""

from typing import TypeAlias

import msgspec

from rillflow.core.events import CallbackReceived
from rillflow.ids import ExecutionId, TaskName


class DispatchTask(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Make one attempt at a function task.

    ``input`` is the JSON text of the mapped input with ``parameters`` merged in. Execution, task
    and attempt together are the idempotency key. ``route`` is the chain of (execution, task) of the
    sub-flows above, outermost first. An empty ``task`` with pattern ``completion`` is the
    execution's completion callback. ``poll`` numbers the polls for the result of an attempt; 0 is
    the attempt itself. ``secrets`` are the places of the input in which references to secrets are
    replaced; the empty place is the resource name. ``called`` is set for a poll only: the resource
    name and protocol of the attempt. The function chooses the address of a poll, so that address
    alone does not say which function is polled. ``ray_options`` is a JSON object. ``is_public``
    forbids loopback and private addresses: a function at a public address gave this one.
    ``traceparent`` is the header of that name, which names the span of the attempt.
    """

    execution_id: ExecutionId
    task: TaskName
    attempt: int
    pattern: str
    resource_name: str
    resource_protocol: str | None = None
    request_type: str | None = None
    input: bytes = b"{}"
    timeout_s: float | None = None
    resource: bytes | None = None
    route: tuple[tuple[str, str, str], ...] = ()
    at_ms: int = 0
    poll: int = 0
    secrets: tuple[tuple[str | int, ...], ...] = ()
    called: tuple[str, str | None] | None = None
    ray_options: bytes | None = None
    is_public: bool = False
    traceparent: str | None = None

    @property
    def call(self) -> tuple[str, str, int, int]:
        """Identity of the call, also in its answer; a repeated call has the same one."""
        return self.execution_id, self.task, self.attempt, self.poll

    @property
    def key(self) -> tuple[str, str, int]:
        """Identity of the attempt, the same for all polls of it."""
        return self.execution_id, self.task, self.attempt


class SetTimer(msgspec.Struct, frozen=True, kw_only=True):
    """Deliver a TimerFired event with these fields at ``due_ms``."""

    kind: str
    task: TaskName
    due_ms: int


class NotifyParent(msgspec.Struct, frozen=True, kw_only=True):
    """Deliver the outcome of a sub-flow to the task that waits for it.

    ``attempt`` counts the outcomes of one sub-flow, which may end more than once after a redo.
    """

    execution_id: ExecutionId
    callback: CallbackReceived
    attempt: int = 1


class CancelChild(msgspec.Struct, frozen=True, kw_only=True):
    """Cancel a sub-flow of a cancelled execution."""

    execution_id: ExecutionId


class RedoChild(msgspec.Struct, frozen=True, kw_only=True):
    """Redo the failed parts of a sub-flow, for a task that waits for it again.

    ``order`` counts these requests of one attempt, so that a repetition is recognized.
    """

    execution_id: ExecutionId
    task: TaskName
    order: int


class Announce(msgspec.Struct, frozen=True, kw_only=True):
    """Tell listeners what happened (spec 3.19); no event answers this command."""

    kind: str
    task: TaskName = ""


Command: TypeAlias = DispatchTask | SetTimer | NotifyParent | CancelChild | RedoChild | Announce
