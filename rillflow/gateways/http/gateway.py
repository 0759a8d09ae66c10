"""The HTTP gateway: Rill Flow's HTTP dialect over one transport (spec 4.4, 9.2).

Used by `gateways/language_models.py` and `gateways/registry.py`.
"""

import asyncio
import logging
import sys
from functools import partial
from typing import Final, Literal

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
from rillflow.gateways.http.responses import answered, redirected
from rillflow.gateways.http_client.connection import SMALL_BYTES
from rillflow.gateways.http_client.resolver import ASKING_WORKSPACE
from rillflow.gateways.http_client.transport import HttpTransport, transport_of
from rillflow.gateways.limits.answer_budget import AnswerBudget
from rillflow.gateways.limits.limiter import CallLimiter, NoLimiter, function_of
from rillflow.gateways.outbound.egress import EgressPolicy
from rillflow.gateways.outbound.exchange import FAILS, HttpCall, Reply
from rillflow.gateways.outbound.settings import HttpSettings
from rillflow.gateways.outbound.threads import in_turn
from rillflow.ids import workspace_of
from rillflow.ports.clock import Clock
from rillflow.ports.gateway import (
    Delegate,
    Delegates,
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
        self._under_way: set[asyncio.Timeout] = set()
        self._closed = False
        self.delegates: Delegates | None = None
        """Others that make calls whose turn has come here."""

    async def call(self, request: DispatchRequest, built: HttpCall | None = None) -> DispatchAnswer:
        """Make one attempt over HTTP, with the request that is ``built`` already, if one is."""
        try:
            return await self._call(request, built)
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
        self._turns.close()
        for transport in (self._transport, self._guarded):
            if transport is not None:
                await transport.close()

    async def _call(self, request: DispatchRequest, built: HttpCall | None) -> DispatchAnswer:
        if self._closed:
            raise GatewayError(f"{FAILS}the gateway is closed")
        ASKING_WORKSPACE.set(workspace_of(request.execution_id))
        now_ms = request.at_ms or self._clock.now_ms()
        delegate = None if built else self._delegate_for(request)
        call = built
        if call is None and delegate is None:
            call = await self._built(request, now_ms)
        made = await self._limited(request, call, now_ms, delegate)
        if isinstance(made, DispatchAnswer):
            return made
        last, reply = made
        now_ms = self._clock.now_ms()
        answer = await in_turn(
            request.execution_id,
            len(reply.body),
            lambda: answered(request, reply, url=last.address, now_ms=now_ms),
        )
        if answer.poll_url is not None and self._policy_after(reply.peer) is not None:
            return replace(answer, polls_public=True)
        return answer

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
        delegate: Delegate | None,
    ) -> tuple[HttpCall, Reply] | DispatchAnswer:
        """Wait for the call's turn, then make it within its time-out, or have another make it.

        What that one is to build is not built here.
        """
        reading: Reading | None = None
        timeout_s = call_timeout_s(request, self._settings)
        names = names_of(request) if call is None else (call.origin, function_of(call))
        try:
            # After the task's own time-out nobody waits for its turn any more.
            async with asyncio.timeout(request.timeout_s) as limit:
                self._under_way.add(limit)
                try:
                    async with self._turns.turn(request, names, limit) as turn:
                        loop = asyncio.get_running_loop()
                        give_up_s = loop.time() + timeout_s + DELEGATED_S
                        if delegate and (delegated := delegate.take(request, give_up_s)):
                            limit.reschedule(None)  # The delegate gives the call up.
                            if (answer := await delegated) is not None:
                                turn.made_elsewhere(answer)
                                return answer
                        if call is None:
                            call = await self._built(request, now_ms)
                        limit.reschedule(loop.time() + timeout_s)
                        reading = Reading(self._budget, request.call, names[0], limit, timeout_s)
                        transport = self._opened(is_public=request.is_public)
                        last, reply = await self._follow(transport, call, reading)
                        turn.answered(reply)
                        return last, reply
                finally:
                    self._under_way.discard(limit)
                    if reading is not None:
                        reading.is_over = True
        except TimeoutError as error:
            if self._closed:
                raise GatewayError(f"{FAILS}the gateway is closed") from error
            method = request_method(request.request_type) if call is None else call.method
            shown = f"{method} {names[1]}"
            if reading is not None and (reading.is_slow or reading.is_waiting):
                raise _without_room(shown, is_slow=reading.is_slow) from error
            text = f"{FAILS}no answer from {shown} within {timeout_s:g} s"
            raise GatewayError(ran_out(request, timeout_s, text)) from error

    def _delegate_for(self, request: DispatchRequest) -> Delegate | None:
        """Return who is to make a call elsewhere; None where that cannot be, or need not.

        Secrets stay here. A notice is repeated, and a poll belongs to a call, where they are.
        """
        is_plain = request.task and not (request.secrets or request.poll or request.is_public)
        return self.delegates.chosen() if self.delegates is not None and is_plain else None

    def _lost(self, error: GatewayError) -> Literal["", "connection", "exchange"]:
        """Tell what failed of a call, as the circuits of its host and function have to know."""
        if isinstance(error, NotConnectedError):
            return "connection"
        is_late = isinstance(error.__cause__, TimeoutError) and not self._closed
        return "exchange" if is_late or isinstance(error, BrokenExchangeError) else ""

    async def _follow(
        self, transport: HttpTransport, call: HttpCall, reading: Reading
    ) -> tuple[HttpCall, Reply]:
        for _ in range(self._settings.max_redirects + 1):
            reply = await self._exchange(transport, call, reading)
            following = redirected(call, reply, self._settings.tls_by_host)
            if following is None:
                return call, reply
            call = following
            if self._policy_after(reply.peer) is not None:
                transport = self._opened(is_public=True)
            reading.is_complete = False
        raise GatewayError(f"{FAILS}more than {self._settings.max_redirects} redirects")

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
