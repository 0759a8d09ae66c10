"""A call that waits for its turn without a task of the event loop.

Thousands of calls may wait for the slots of a host. A task with its coroutines takes some kilobytes
for each, and time; so one is made when the turn has come.

Used by `gateways/http/gateway.py`, `gateways/registry.py` and `runtime/dispatch`.
"""

import asyncio
from typing import Protocol, TypeAlias

from rillflow.gateways.limits.limiter import Turn
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest


class CallPool(Protocol):
    """The pool that makes a call when its turn has come."""

    def begin(self, call: "WaitingCall") -> None:
        """Make the call: by ``TurnGateway.make``, and ``leave`` its turn then."""
        ...

    def ended(self, call: "WaitingCall") -> DispatchAnswer | None:
        """Return the answer of a call that is not wanted any more, None if it gets none."""
        ...


class WaitingCall:
    """The answer of a call that is not made yet, as a future would be of it.

    Whoever does not want the call cancels it. When it is begun, a task takes its place.
    """

    __slots__ = ("_answer", "_is_over", "_maker", "begun_s", "request", "turn")

    def __init__(self, request: DispatchRequest, maker: CallPool) -> None:
        """Have ``maker`` make the call when its turn has come; ``begun_s`` is for measuring."""
        self.request = request
        self.turn: Turn | None = None
        self.begun_s = 0.0
        self._maker = maker
        self._answer: DispatchAnswer | None = None
        self._is_over = False

    def begin(self) -> None:
        """Have the call made: its turn has come, or it has waited for too long."""
        if not self._is_over:
            self._maker.begin(self)

    def leave(self) -> None:
        """Release the turn, unless the call has gone on with it."""
        if self.turn is not None:
            self.turn.leave()

    def cancel(self) -> bool:
        """Wait no more."""
        if self._is_over:
            return False
        self._is_over = True
        self.leave()
        self._answer = self._maker.ended(self)
        return True

    def done(self) -> bool:
        """Tell whether it was cancelled."""
        return self._is_over

    def cancelled(self) -> bool:
        """Tell whether it was cancelled, and has no answer."""
        return self._is_over and self._answer is None

    def exception(self) -> None:
        """Return no error: there is never any."""

    def result(self) -> DispatchAnswer:
        """Return the answer of a call that was cancelled and has one."""
        if self._answer is None:
            raise asyncio.InvalidStateError
        return self._answer


CallUnderWay: TypeAlias = "asyncio.Future[DispatchAnswer] | WaitingCall"


class TurnGateway(Protocol):
    """A gateway whose calls may wait for their turns without a task."""

    def queue(self, call: WaitingCall) -> bool:
        """Begin a call when its turn comes, which may be at once; False if it needs a task."""
        ...

    async def make(self, call: WaitingCall) -> DispatchAnswer:
        """Make one attempt that has begun; every failure is an answer."""
        ...
