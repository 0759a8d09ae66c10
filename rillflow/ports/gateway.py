"""The seam between an execution and the serverless function it calls (SEMANTICS 4)."""

from typing import Protocol

import msgspec

from rillflow.core.commands import DispatchTask as DispatchRequest
from rillflow.ids import ExecutionId, TaskName

__all__ = ["DispatchAnswer", "DispatchRequest", "Gateway"]


class DispatchAnswer(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """How the attempt's call ended, before any interpretation (SEMANTICS 3.10).

    ``body`` is the answer's text, None when empty. ``error`` is the message of a
    failed call, None when the call was answered well; with an error, ``body`` may
    still hold what the gateway said. ``retry_after_s`` is the gateway's wish. ``poll``
    is the request's, filled in by the dispatcher.
    """

    execution_id: ExecutionId
    task: TaskName
    attempt: int
    body: bytes | None = None
    error: str | None = None
    http_status: int | None = None
    retry_after_s: float | None = None
    poll_url: str | None = None
    poll: int = 0

    @property
    def call(self) -> tuple[str, str, int, int]:
        """Identity of the call, as its request has it."""
        return self.execution_id, self.task, self.attempt, self.poll

    @property
    def key(self) -> tuple[str, str, int]:
        """Identity of the attempt, as its request has it."""
        return self.execution_id, self.task, self.attempt


class Gateway(Protocol):
    """One way of calling functions, chosen by ``resourceProtocol`` or scheme."""

    async def call(self, request: DispatchRequest) -> DispatchAnswer:
        """Make one attempt; every failure is an answer with ``error``, never an exception."""
        ...

    async def close(self) -> None:
        """Release connections; calls under way end with an error."""
        ...
