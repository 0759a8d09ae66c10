"""The HTTP gateway: Rill Flow's HTTP dialect over one transport (spec 4.4, 9.2).

Used by `gateways/language_models.py` and `gateways/registry.py`.
"""

import asyncio
import logging
import sys
from collections.abc import Coroutine
from functools import partial
from typing import Any, Final, Literal

from msgspec.structs import replace

from rillflow.errors import (
    BrokenExchangeError,
    GatewayError,
    NotConnectedError,
)
from rillflow.gateways.http.artifact_inputs import has_artifacts, with_addresses
from rillflow.gateways.http.reading import Reading
from rillflow.gateways.http.requests import (
    build_request,
    call_timeout_s,
    names_of,
    ran_out,
    request_method,
)
from rillflow.gateways.http.responses import REDIRECTS, answered, redirected
from rillflow.gateways.http_client.connection import SMALL_BYTES
from rillflow.gateways.http_client.resolver import ASKING_WORKSPACE
from rillflow.gateways.http_client.transport import HttpTransport, transport_of
from rillflow.gateways.limits.answer_budget import AnswerBudget
from rillflow.gateways.limits.call_timeout import CallTimeout
from rillflow.gateways.limits.concurrency import Caller, caller_of
from rillflow.gateways.limits.deadlines import Deadlines
from rillflow.gateways.limits.delegation_call import Delegate, Delegates, DelegationCall, Outcome
from rillflow.gateways.limits.limiter import CallLimiter, NoLimiter, Turn, function_of
from rillflow.gateways.limits.waiting_call import WaitingCall
from rillflow.gateways.outbound.egress import EgressPolicy
from rillflow.gateways.outbound.exchange import FAILS, HttpCall, Reply
from rillflow.gateways.outbound.settings import HttpSettings
from rillflow.gateways.outbound.threads import SHORT_BYTES, in_turn
from rillflow.ports.clock import Clock
from rillflow.ports.gateway import (
    DispatchAnswer,
    DispatchRequest,
    HostState,
    failed,
)

_log = logging.getLogger(__name__)

DELEGATED_S: Final = 60.0
"""After a call's time-out, until a call is given up that another dispatcher makes."""


class HttpGateway:
    """Calls functions over HTTP; every failure is an answer, never an exception.

    It has one transport, which the first call opens in its event loop.
    """

    def __init__(
        self,
        settings: HttpSettings,
        clock: Clock,
        budget: AnswerBudget | None = None,
        *,
        is_limited: bool = True,
    ) -> None:
        """Read large answers only if a ``budget`` has room; the caller releases that room.

        One that is not ``is_limited`` makes calls that have had their turn elsewhere.
        """
        self._budget = budget or AnswerBudget(sys.maxsize)
        self._settings = settings
        self._clock = clock
        self._turns = CallLimiter(settings, clock) if is_limited else NoLimiter()
        self._transport: HttpTransport | None = None
        self._guarded: HttpTransport | None = None
        self._deadlines = Deadlines()
        self._under_way: set[CallTimeout] = set()
        self._closed = False
        self.delegates: Delegates | None = None
        """Others that make calls whose turn has come here."""

    async def call(
        self,
        request: DispatchRequest,
        built: HttpCall | None = None,
        turn: Turn | None = None,
    ) -> DispatchAnswer:
        """Make one attempt over HTTP, with the request that is ``built`` already, if one is.

        ``turn`` is that of a call that has waited for it already.
        """
        try:
            return await self._call(request, built, turn)
        except GatewayError as error:
            return replace(failed(request, str(error), error.hint), lost=self._lost(error))
        except Exception as error:  # noqa: BLE001 - the port promises an answer
            # A traceback may contain what was sent.
            _log.error(
                "gateway.unexpected",
                extra={"execution_id": request.execution_id, "kind": type(error).__name__},
                exc_info=not request.secrets and built is None,
            )
            return failed(request, f"{FAILS}{str(error) or type(error).__name__}")

    def queue(self, call: WaitingCall) -> bool:
        """Begin a call when its turn comes; see ``TurnGateway``."""
        request, turns = call.request, self._turns
        if self._closed or isinstance(turns, NoLimiter):
            return False
        try:
            names = names_of(request)
        except GatewayError:
            return False
        call.turn = turn = turns.turn(caller_of(request), request.timeout_s, names)
        return turn.queue(call.begin)

    def make(self, call: WaitingCall) -> Coroutine[Any, Any, DispatchAnswer]:
        """Make one attempt whose turn has come."""
        return self.call(call.request, None, call.turn)

    def hosts(self) -> list[HostState]:
        """Return the state of every host that is called, or has failed, now."""
        return self._turns.hosts()

    async def close(self) -> None:
        """Close the transport; calls under way end with an error, and so do later ones."""
        self._closed = True
        now = asyncio.get_running_loop().time()
        for limit in self._under_way:
            if not limit.expired():
                limit.reschedule(now)
                limit.give_up()
        self._deadlines.close()
        self._turns.close()
        for transport in (self._transport, self._guarded):
            if transport is not None:
                await transport.close()

    async def _call(
        self, request: DispatchRequest, call: HttpCall | None, turn: Turn | None
    ) -> DispatchAnswer:
        if self._closed:
            raise GatewayError(f"{FAILS}the gateway is closed")
        caller = caller_of(request) if turn is None else turn.caller
        ASKING_WORKSPACE.set(caller.workspace)
        now_ms = request.at_ms or self._clock.now_ms()
        if call is None and not (self.is_passing and may_be_delegated(request)):
            call = self._built_at_once(request, now_ms) or await self._built(request, now_ms)
        made = await self._limited(request, call, now_ms, caller, turn)
        if isinstance(made, DispatchAnswer):
            return made
        last, reply = made
        read = partial(answered, request, reply, url=last.address, now_ms=self._clock.now_ms())
        is_short = len(reply.body) <= SHORT_BYTES
        answer = read() if is_short else await in_turn(caller.workspace, len(reply.body), read)
        if answer.poll_url is not None and self._policy_after(reply.peer) is not None:
            return replace(answer, polls_public=True)
        return answer

    def _built_at_once(self, request: DispatchRequest, now_ms: int) -> HttpCall | None:
        """Return the request of a short input; None for those that take longer to build."""
        settings = self._settings
        if len(request.input) > SHORT_BYTES:
            return None
        if settings.artifacts is not None and has_artifacts(request):
            return None
        return build_request(request, settings, now_ms=now_ms)

    async def _built(self, request: DispatchRequest, now_ms: int) -> HttpCall:
        if self._settings.artifacts is not None and has_artifacts(request):
            request = await with_addresses(request, self._settings.artifacts, now_ms=now_ms)
        build = partial(build_request, request, self._settings, now_ms=now_ms)
        return await in_turn(request.execution_id, len(request.input), build)

    async def _limited(
        self,
        request: DispatchRequest,
        call: HttpCall | None,
        now_ms: int,
        caller: Caller,
        begun: Turn | None,
    ) -> tuple[HttpCall, Reply] | DispatchAnswer:
        """Wait for the call's turn, then make it within its time-out, or have another make it.

        Another may make one that is not built, if it has to wait for its turn: ``pass_on`` has
        decided about those whose turn is at once.
        """
        reading: Reading | None = None
        loop = asyncio.get_running_loop()
        timeout_s = call_timeout_s(request, self._settings)
        names = _names(request, call) if begun is None else begun.names
        limit = CallTimeout(self._deadlines)
        turn = begun or self._turns.turn(caller, request.timeout_s, names, limit)
        self._under_way.add(limit)
        try:
            with limit:
                waits = begun is not None or not turn.begins_at_once()
                if request.timeout_s is not None and (waits or call is None):
                    # After the task's own time-out nobody waits for its turn any more.
                    limit.reschedule(loop.time() + request.timeout_s)
                if waits:
                    await (turn.begin() if begun is None else begun.go_on(limit))
                with turn:
                    if call is None:
                        if waits and (answer := await self._made_elsewhere(request, limit)):
                            turn.made_elsewhere(answer)
                            return answer
                        call = await self._built(request, now_ms)
                    limit.reschedule(loop.time() + timeout_s)
                    reading = Reading(self._budget, request.call, names[0], limit, timeout_s)
                    transport = self._opened(is_public=request.is_public)
                    reply = await self._exchange(transport, call, reading)
                    if reply.status in REDIRECTS:
                        call, reply = await self._follow(transport, call, reply, reading)
                    turn.answered(reply)
                    return call, reply
        except TimeoutError as error:
            method = request_method(request.request_type) if call is None else call.method
            raise self._gave_up(request, timeout_s, f"{method} {names[1]}", reading) from error
        finally:
            self._under_way.discard(limit)
            if reading is not None:
                reading.is_over = True

    @property
    def is_passing(self) -> bool:
        """Whether calls are passed on now."""
        return self.delegates is not None and not self.delegates.is_alone

    def chosen(self, calls: int) -> Delegate | None:
        """Return who is to make the next calls; see ``DelegationGateway``."""
        return None if self.delegates is None else self.delegates.chosen(calls)

    def pass_on(self, call: DelegationCall, delegate: Delegate) -> bool:
        """Have another dispatcher make a call if its turn is now."""
        request = call.request
        if self._closed or not may_be_delegated(request):
            return False
        turn = self._turns.turn(caller_of(request), request.timeout_s, names_of(request))
        if not turn.begins_at_once():
            return False
        call.give_up_s = self._give_up_s(request)
        if not delegate.take(call):
            turn.__exit__(None, None, None)
            return False
        call.turn = turn
        return True

    def given_up(self, request: DispatchRequest) -> DispatchAnswer:
        """Return the answer of a call that has taken too long elsewhere."""
        timeout_s = call_timeout_s(request, self._settings)
        shown = f"{request_method(request.request_type)} {names_of(request)[1]}"
        error = self._gave_up(request, timeout_s, shown, None)
        return failed(request, str(error), error.hint)

    async def _made_elsewhere(
        self, request: DispatchRequest, limit: CallTimeout
    ) -> DispatchAnswer | None:
        """Have another dispatcher make a call whose turn it is; None where it is made here."""
        delegate = None if self.delegates is None else self.delegates.chosen()
        if delegate is None:
            return None
        outcome: asyncio.Future[DispatchAnswer | None] = asyncio.get_running_loop().create_future()
        call = DelegationCall(request, partial(_settle, outcome), _nothing)
        call.give_up_s = self._give_up_s(request)
        if not delegate.take(call):
            return None
        limit.reschedule(None)  # The delegate gives the call up.
        try:
            return await outcome
        finally:
            call.cancel()
            del outcome, call  # the traceback of an error has this frame, and would keep itself

    def _give_up_s(self, request: DispatchRequest) -> float:
        timeout_s = call_timeout_s(request, self._settings)
        return asyncio.get_running_loop().time() + timeout_s + DELEGATED_S

    def _gave_up(
        self, request: DispatchRequest, timeout_s: float, shown: str, reading: Reading | None
    ) -> GatewayError:
        """Return the error of a call that was not answered, or whose answer was not read."""
        if self._closed:
            return GatewayError(f"{FAILS}the gateway is closed")
        if reading is not None and (reading.is_slow or reading.is_waiting):
            return _without_room(shown, is_slow=reading.is_slow)
        text = f"{FAILS}no answer from {shown} within {timeout_s:g} s"
        return GatewayError(ran_out(request, timeout_s, text))

    def _lost(self, error: GatewayError) -> Literal["", "connection", "exchange"]:
        """Tell what failed of a call, as the circuits of its host and function have to know."""
        if isinstance(error, NotConnectedError):
            return "connection"
        is_late = isinstance(error.__cause__, TimeoutError) and not self._closed
        return "exchange" if is_late or isinstance(error, BrokenExchangeError) else ""

    async def _follow(
        self, transport: HttpTransport, call: HttpCall, reply: Reply, reading: Reading
    ) -> tuple[HttpCall, Reply]:
        """Make the calls that redirects ask for; return the last one, and its response."""
        most = left = self._settings.max_redirects
        while following := redirected(call, reply, self._settings.tls_by_host):
            if not left:
                raise GatewayError(f"{FAILS}more than {most} redirects")
            left -= 1
            if self._policy_after(reply.peer) is not None:
                transport = self._opened(is_public=True)
            reading.is_complete = False
            call, reply = following, await self._exchange(transport, following, reading)
        return call, reply

    async def _exchange(self, transport: HttpTransport, call: HttpCall, reading: Reading) -> Reply:
        """Make one exchange; try again, at once, only while no connection could be opened."""
        cap = self._settings.max_response_bytes
        tries_left = max(1, self._settings.transport_attempts)
        while True:
            tries_left -= 1
            try:
                reply = await transport.exchange(call, most_bytes=cap, room=reading.take)
                body, encoding = reply.body, reply.headers.get("content-encoding")
                if len(body) > SMALL_BYTES or encoding is not None:
                    reading.complete()
                if encoding is None:
                    return reply
                return reply._replace(body=await reading.unpacked(body, encoding, cap))
            except NotConnectedError as error:
                if not tries_left:
                    raise NotConnectedError(f"{FAILS}{error}") from error
            except BrokenExchangeError as error:
                raise BrokenExchangeError(f"{FAILS}{error} ({_shown(call)})") from error

    def _opened(self, *, is_public: bool) -> HttpTransport:
        """Return the transport of all addresses that may be called, or that of the public ones.

        A connection of the first may lead where the second must not connect.
        """
        policy = self._policy_after("") if is_public else None
        if policy is None:
            if self._transport is None:
                self._transport = transport_of(self._settings)
            return self._transport
        if self._guarded is None:
            self._guarded = transport_of(replace(self._settings, egress=policy))
        return self._guarded

    def _policy_after(self, peer: str) -> EgressPolicy | None:
        """Return the policy for an address that an answer gave; None if it is that of all calls.

        What answered is judged by its address, since a name may resolve to another one next time.
        """
        policy = self._settings.egress.after(peer)
        return None if policy is self._settings.egress else policy


def _names(request: DispatchRequest, call: HttpCall | None) -> tuple[str, str]:
    """Return the host and the function of a call, which may be built already."""
    return names_of(request) if call is None else (call.origin, function_of(call))


def may_be_delegated(request: DispatchRequest) -> bool:
    """Tell whether another dispatcher may make a call.

    Secrets stay here. A notice is repeated, and a poll belongs to a call, where they are.
    """
    return bool(request.task) and not (request.secrets or request.poll or request.is_public)


def _settle(
    future: "asyncio.Future[DispatchAnswer | None]", _: DelegationCall, outcome: Outcome
) -> None:
    if isinstance(outcome, TimeoutError):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


def _nothing(_: DelegationCall) -> None:
    """Answer a call that is cancelled with nothing."""


def _without_room(shown: str, *, is_slow: bool) -> GatewayError:
    if is_slow:
        reason = "came too slowly while other answers waited for its room"
        return GatewayError(
            f"{FAILS}the answer of {shown} {reason}",
            hint="see call_answer_min_bytes_per_s and call_answers_max_bytes",
        )
    return GatewayError(
        f"{FAILS}there was no room for the answer of {shown}",
        hint="see call_answers_max_bytes",
    )


def _shown(call: HttpCall) -> str:
    """Return a call's address without its query, which may contain secrets."""
    return f"{call.method} {call.url.partition('?')[0]}"
