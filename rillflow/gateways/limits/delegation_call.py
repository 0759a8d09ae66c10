"""A call that another dispatcher makes, while its place is held here.

It takes no task of the event loop: what is to be done when its answer comes is done at once.

Used by `gateways/http/gateway.py`, `gateways/registry.py` and `runtime/dispatch`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Protocol, TypeAlias

from rillflow.ports.gateway import DispatchAnswer, DispatchRequest

Outcome: TypeAlias = DispatchAnswer | TimeoutError | None
"""What comes of a call that was passed on: its answer, or that it took too long. None of one that
died with whoever was to make it, and is to be made here."""


class HeldTurn(Protocol):
    """The turn of a call that is made elsewhere."""

    def made_elsewhere(self, answer: DispatchAnswer) -> None:
        """Learn from the answer."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release everything; ``error`` says why there is no answer."""
        ...


class DelegationCall(asyncio.Future[DispatchAnswer]):
    """The answer of a call that may be passed on; whoever does not want it cancels it.

    ``turn`` is its turn here, None before and after it. ``give_up_s`` is when it has taken too
    long, by the clock of the event loop. ``begun_s`` is for whoever measures it.
    """

    def __init__(
        self,
        request: DispatchRequest,
        returned: "Callable[[DelegationCall, Outcome], None]",
        ended: "Callable[[DelegationCall], DispatchAnswer | None]",
    ) -> None:
        """Pass the outcome to ``returned``, which sets the answer.

        ``ended`` is called when the call is cancelled; what it returns is the answer then, if it
        returns any.
        """
        super().__init__()
        self.request = request
        self.turn: HeldTurn | None = None
        self.give_up_s = 0.0
        self.begun_s = 0.0
        self._returned = returned
        self._ended = ended

    def came(self, outcome: Outcome) -> None:
        """Take the outcome, once; the place is free then."""
        turn, self.turn = self.turn, None
        if turn is not None:
            if isinstance(outcome, DispatchAnswer):
                turn.made_elsewhere(outcome)
                turn.__exit__(None, None, None)
            else:
                turn.__exit__(None, outcome, None)
        self._returned(self, outcome)

    def cancel(self, msg: object = None) -> bool:
        """Free the place; whoever makes the call learns within a second that nobody waits."""
        if self.done():
            return False
        turn, self.turn = self.turn, None
        if turn is not None:
            turn.__exit__(None, None, None)
        answer = self._ended(self)
        if answer is None:
            return super().cancel(msg)
        self.set_result(answer)
        return True


class Delegate(Protocol):
    """Another dispatcher, which makes calls for this one."""

    def take(self, call: DelegationCall) -> bool:
        """Have it make a call whose turn has come; tell whether it does.

        ``came`` is called with the outcome, unless the call is done before.
        """
        ...


class Delegates(Protocol):
    """Other dispatchers, which make calls for a busy one once these may go out."""

    @property
    def is_alone(self) -> bool:
        """Whether this dispatcher makes all calls now."""
        ...

    def chosen(self, calls: int = 1) -> Delegate | None:
        """Return who is to make the next calls; None is this dispatcher."""
        ...


class DelegationGateway(Protocol):
    """A gateway that passes calls on."""

    def chosen(self, calls: int) -> Delegate | None:
        """Return who is to make the next calls, of those that may be passed on."""
        ...

    def pass_on(self, call: DelegationCall, delegate: Delegate) -> bool:
        """Have another dispatcher make a call if its turn is now; tell whether it does."""
        ...

    def finished(
        self, call: DelegationCall, outcome: DispatchAnswer | TimeoutError
    ) -> DispatchAnswer | Awaitable[DispatchAnswer]:
        """Return the answer of a call that was passed on, as if it had been made here."""
        ...
