"""Delegation: a busy dispatcher has others make calls whose turn has come here.

The calls to a host have one dispatcher, which has its limits, rates and circuits, and knows which
calls are under way. While that is busy, it passes some calls on once they may go out, and keeps
their places until they are answered. So whatever holds for the host holds for all of its calls.

Used by `actors/dispatcher_actor.py` and `runtime/endpoints`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

from rillflow.errors import RillflowError
from rillflow.gateways.limits.answer_budget import AnswerBudget, CallId
from rillflow.gateways.limits.delegation_call import DelegationCall, Outcome
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest
from rillflow.ports.loops import LEAVES, decode_loop
from rillflow.ports.messages import BeginDelegation, GetLoopState, encode_message
from rillflow.runtime.aio.retrying import retry_while_unavailable
from rillflow.runtime.dispatch.client import Connection, DispatcherClient
from rillflow.runtime.dispatch.load_sharing import CALM, LoadSharing
from rillflow.runtime.process.crash_log import log_crash

log = logging.getLogger("rillflow.dispatcher")

DELEGATES: Final = "#"
"""Between the name of a dispatcher and its process, in the name of a sender of delegated calls."""
LOOK_S: Final = 0.5
"""Between looks at how busy dispatchers are."""
ANSWER_S: Final = 1.0
"""Another dispatcher that takes longer to say how busy it is gets no calls."""
AGAIN_S: Final = 30.0
"""Until another dispatcher is asked again that does not know how to make calls of others."""
_ASK_LOAD: Final = encode_message(GetLoopState())


def dispatcher_of(sender: str) -> str:
    """Return the name under which a sender is reached."""
    return sender.partition(DELEGATES)[0]


class Delegation:
    """Passes calls on to other dispatchers (``rillflow/gateways/limits/delegation_call.py``)."""

    def __init__(
        self,
        name: str,
        process: str,
        others: Sequence[Connection],
        *,
        busy: Callable[[], float],
        budget: AnswerBudget,
    ) -> None:
        """Pass calls on as this process of a dispatcher.

        Args:
            name: The dispatcher's.
            process: The token of its process.
            others: The connections to the other dispatchers.
            busy: Returns the part of a processor that this dispatcher uses, from 0 to 1.
            budget: What the answers that this dispatcher has may hold together.
        """
        sender = f"{name}{DELEGATES}{process}"
        self._delegates = [_Delegate(sender, connection) for connection in others]
        self._sharing = LoadSharing(len(others))
        self._busy = busy
        self._budget = budget

    @property
    def is_alone(self) -> bool:
        """Whether this dispatcher makes all calls now."""
        return self._sharing.is_alone

    def chosen(self, calls: int = 1) -> "_Delegate | None":
        """Return who is to make the next calls; None if they are to be made here."""
        if self._sharing.is_alone:
            return None
        index = self._sharing.choose(calls)
        return None if index is None else self._delegates[index]

    def answered(self, answers: list[DispatchAnswer]) -> bytes | Awaitable[bytes]:
        """Take the answers of calls; they wait in the other dispatcher while here is no room."""
        if self._budget.is_full:
            return self._answered_later(answers)
        for delegate in self._delegates:
            delegate.answered(answers)
        return b""

    async def _answered_later(self, answers: list[DispatchAnswer]) -> bytes:
        await self._budget.until_free()
        for delegate in self._delegates:
            delegate.answered(answers)
        return b""

    def start(self) -> None:
        """Look from now on how busy this dispatcher and the others are."""
        self._running = asyncio.create_task(self.run(), name="delegation")

    async def run(self) -> None:
        """Look how busy this dispatcher and the others are, until cancelled."""
        await asyncio.gather(self._look(), *(delegate.run() for delegate in self._delegates))

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.look()
            except Exception:
                log.exception("load_not_shared")

    async def look(self) -> None:
        """Look once; while all is quiet, nobody is asked."""
        own = self._busy()
        if own < CALM and self._sharing.is_alone:
            return
        others = await asyncio.gather(*(delegate.busy() for delegate in self._delegates))
        self._sharing.look(own, others)


class _Delegate:
    """Another dispatcher, and the calls that it makes for this one.

    To its client it is the owner of these calls.
    """

    def __init__(self, sender: str, connection: Connection) -> None:
        self._sender = sender
        self._connection = connection
        self._client = DispatcherClient(sender, [connection])
        self._client.serve(self)
        self._awaited: dict[CallId, DelegationCall] = {}
        self._taken: list[DispatchRequest] = []
        self._is_ready = False
        self._died = asyncio.Event()

    @property
    def epoch(self) -> int:
        """The same for all orders: the name of the sender has its process."""
        return 1

    async def run(self) -> None:
        """End what an earlier process has delegated, and watch for the delegate's death."""
        await asyncio.gather(self._stay_ready(), self._client.watch_dispatchers())

    async def _stay_ready(self) -> None:
        """Begin with each process of the delegate: it may be of another release."""
        begin = encode_message(BeginDelegation(self._sender))
        while True:
            self._died.clear()
            try:
                await retry_while_unavailable(lambda: self._connection(begin), defects_too=False)
            except RillflowError as error:  # perhaps it is of the release before
                log.warning("calls_not_delegated", extra={"reason": str(error)})
                await asyncio.sleep(AGAIN_S)
                continue
            self._client.send(())  # to know the process that has just answered
            self._is_ready = True
            await self._died.wait()

    async def busy(self) -> float | None:
        """Ask how busy it is; None if it makes no calls for this one now."""
        if not self._is_ready:
            return None
        try:
            state = await asyncio.wait_for(self._connection(_ASK_LOAD), ANSWER_S)
        except (RillflowError, TimeoutError):
            return None
        busy = decode_loop(state).busy
        return None if busy >= LEAVES else busy

    def take(self, call: DelegationCall) -> bool:
        """Have it make a call; not if an earlier order of the same call has not ended there."""
        known, request = self._awaited, call.request
        if not self._is_ready or (key := request.call) in known:
            return False
        known[key] = call
        if not self._taken:
            asyncio.get_running_loop().call_soon(self._send)
        self._taken.append(request)
        return True

    def _send(self) -> None:
        """Order what has been taken in one turn of the event loop."""
        taken, self._taken = self._taken, []
        self._client.send(taken)

    def answered(self, answers: Iterable[DispatchAnswer]) -> None:
        """Take those answers that are of calls made there."""
        known, own = self._awaited, []
        for answer in answers:
            call = known.pop(answer.call, None)
            if call is None:
                continue
            own.append(answer)
            if not call.done():
                _tell(call, answer)
        self._client.answered(own)

    async def has_started(self) -> None:
        """There is nothing to wait for."""

    async def answers_arrived(self, answers: Sequence[DispatchAnswer]) -> None:
        """Take the answers of calls that could not be sent."""
        self.answered(answers)

    async def ended_calls(self, calls: Sequence[CallId]) -> list[CallId]:
        """Return those of some calls that nobody waits for."""
        return [call for call in calls if self._is_over(call)]

    async def is_replaced(self) -> bool:
        """Nobody else delegates these calls: the next process of this dispatcher has others."""
        return False

    async def still_awaited(self, requests: Sequence[DispatchRequest]) -> list[DispatchRequest]:
        """Have all calls made here, since the process has died that was to make them."""
        del requests
        self._is_ready = False
        self._died.set()
        awaited, self._awaited = self._awaited, {}
        for call in awaited.values():
            if not call.done():
                _tell(call, None)
        return []

    async def unawaited(self, requests: Iterable[DispatchRequest]) -> list[DispatchRequest]:
        """Return those that were given up here, or take too long; asked every second."""
        now_s = asyncio.get_running_loop().time()
        return [each for each in requests if self._is_over(each.call, now_s)]

    def _is_over(self, key: CallId, now_s: float = 0.0) -> bool:
        call = self._awaited.get(key)
        if call is None:
            return True
        if call.give_up_s < now_s and not call.done():
            _tell(call, TimeoutError())
        return call.done()


def _tell(call: DelegationCall, outcome: Outcome) -> None:
    """Tell a call its outcome; what one does with it must not keep others from theirs."""
    try:
        call.came(outcome)
    except Exception as error:  # noqa: BLE001 - as above
        log_crash("outcome_not_taken", call.request.execution_id, error)
