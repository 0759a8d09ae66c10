"""The gateway port: how a dispatcher calls a serverless function (spec 4).

Used by `actors`, `gateways`, `ports`, `ray_tasks`, `runtime` and `serve`.
"""

from typing import Final, Literal, Protocol

import msgspec

from rillflow.core.commands import DispatchTask as DispatchRequest
from rillflow.ids import ExecutionId, TaskName

__all__ = [
    "FIELDS_BYTES",
    "HANDLE_FAILS",
    "CircuitState",
    "DispatchAnswer",
    "DispatchRequest",
    "Gateway",
    "HostState",
    "failed",
]


HANDLE_FAILS: Final = "handle fails: "
"""Prefix of messages about calls that failed before, or without, an HTTP exchange."""
FIELDS_BYTES: Final = 256
"""About the size of an answer without its body."""


class DispatchAnswer(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """The result of a call, before any interpretation (spec 3.10).

    ``body`` is the answer's text, None if empty. ``error`` is the message of a failed call, None if
    it succeeded; with an error, ``body`` may still contain the gateway's answer. ``retry_after_s``
    is the pause that the gateway asks for. ``poll`` is the request's, set by the dispatcher.
    ``hint`` explains an error. With ``polls_public``, a public address gave ``poll_url``, so polls
    must not go to a loopback or private address. ``is_outcome`` is set if the body is what a
    callback would bring, so that no callback follows; with an error, if the body is from the
    function, not from a gateway. ``log`` is the place of what the function has printed, as JSON.
    ``lost`` tells dispatchers what failed of a call over HTTP that got no whole answer: the
    connection, or the exchange.
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
    hint: str | None = None
    is_outcome: bool = False
    polls_public: bool = False
    log: str | None = None
    lost: Literal["", "connection", "exchange"] = ""

    @property
    def call(self) -> tuple[str, str, int, int]:
        """Identity of the call, as its request has it."""
        return self.execution_id, self.task, self.attempt, self.poll

    @property
    def key(self) -> tuple[str, str, int]:
        """Identity of the attempt, as its request has it."""
        return self.execution_id, self.task, self.attempt

    @property
    def size_bytes(self) -> int:
        """About the size of its message: only bodies may be large."""
        return FIELDS_BYTES + (len(self.body) if self.body else 0)


def failed(request: DispatchRequest | DispatchAnswer, error: str, hint: str = "") -> DispatchAnswer:
    """Build the answer of a call that got no response.

    Args:
        request: The call, or an answer to it that cannot be delivered.
        error: The message of the failure; ``HANDLE_FAILS`` begins those of no HTTP call.
        hint: More about it.
    """
    return DispatchAnswer(
        execution_id=request.execution_id,
        task=request.task,
        attempt=request.attempt,
        error=error,
        poll=request.poll,
        hint=hint or None,
    )


class Gateway(Protocol):
    """One way of calling functions, selected by ``resourceProtocol`` or scheme."""

    async def call(self, request: DispatchRequest) -> DispatchAnswer:
        """Make one attempt; every failure is an answer with ``error``, never an exception."""
        ...

    async def close(self) -> None:
        """Release connections; calls under way end with an error."""
        ...


class CircuitState(msgspec.Struct, frozen=True, kw_only=True):
    """Whether calls to a host or a function are held back since its last calls failed.

    ``state`` is ``closed``, ``open`` (no call goes out for ``open_for_s``) or ``half-open`` (one
    probe is under way). ``failures`` counts those in a row.
    """

    name: str
    state: str
    failures: int
    open_for_s: float


class HostState(msgspec.Struct, frozen=True, kw_only=True):
    """The calls between a dispatcher and one gateway host.

    ``waiting`` calls wait for a slot or for ``rate_per_s`` (None sets no limit), ``held`` ones
    until a circuit closes. ``functions`` are those behind the host whose last call failed.
    ``idle_s`` is the time since the last call ended, None while there is one. ``warnings`` say what
    calls wait for in vain.
    """

    host: CircuitState
    under_way: int
    waiting: int
    held: int
    rate_per_s: float | None
    functions: list[CircuitState]
    idle_s: float | None = None
    warnings: list[str] = []


class DispatcherState(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway hosts of one dispatcher; ``is_reached`` is False if it did not answer."""

    is_reached: bool
    hosts: list[HostState]


class Dispatchers(Protocol):
    """The state of all dispatchers of a stack."""

    async def states(self) -> list[DispatcherState]:
        """Return the state of each dispatcher, in their order."""
        ...
