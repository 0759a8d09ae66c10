"""The HTTP gateway: Rill Flow's dialect over one transport (spec 4.4, 9.2)."""

import asyncio
import logging

from rillflow.errors import (
    BrokenExchangeError,
    GatewayError,
    NotConnectedError,
)
from rillflow.gateways.http.requests import build_request, call_timeout_s, ran_out
from rillflow.gateways.http.responses import answered, redirected
from rillflow.gateways.http_client.content_encoding import unpacked
from rillflow.gateways.http_client.transport import HttpTransport, transport_of
from rillflow.gateways.limits.answer_budget import AnswerBudget
from rillflow.gateways.limits.limiter import CallLimiter
from rillflow.gateways.messages.exchange import FAILS, HttpCall, Reply
from rillflow.gateways.messages.settings import HttpSettings
from rillflow.gateways.messages.threads import SHORT_BYTES, in_thread
from rillflow.ports.clock import Clock
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest, HostState, failed

_log = logging.getLogger(__name__)


class HttpGateway:
    """Calls functions over HTTP; every failure is an answer, none an exception.

    One transport, opened by the first call, in the loop that makes it.
    """

    def __init__(
        self, settings: HttpSettings, clock: Clock, budget: AnswerBudget | None = None
    ) -> None:
        """Read large answers only where a ``budget`` has room; whoever made the call ends that."""
        self._budget = budget
        self._settings = settings
        self._clock = clock
        self._turns = CallLimiter(settings, clock)
        self._transport: HttpTransport | None = None
        self._under_way: set[asyncio.Timeout] = set()
        self._closed = False

    async def call(self, request: DispatchRequest) -> DispatchAnswer:
        """Make one attempt over HTTP."""
        return await self.send(request)

    async def send(self, request: DispatchRequest, built: HttpCall | None = None) -> DispatchAnswer:
        """Make one attempt with a request that is ``built`` already, else as ``call`` does."""
        try:
            return await self._call(request, built)
        except GatewayError as error:
            return failed(request, str(error), error.hint)
        except Exception as error:  # noqa: BLE001 - the port promises an answer
            # A traceback may show what was sent.
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
        if self._transport is not None:
            await self._transport.close()

    async def _call(self, request: DispatchRequest, built: HttpCall | None) -> DispatchAnswer:
        if self._closed:
            raise GatewayError(f"{FAILS}the gateway is closed")
        now_ms = request.at_ms or self._clock.now_ms()
        call = built or build_request(request, self._settings, now_ms=now_ms)
        timeout_s = call_timeout_s(request, self._settings)
        last, reply = await self._limited(request, call, timeout_s)
        now_ms = self._clock.now_ms()
        if len(reply.body) <= SHORT_BYTES:
            return answered(request, reply, url=last.address, now_ms=now_ms)
        return await in_thread(lambda: answered(request, reply, url=last.address, now_ms=now_ms))

    async def _limited(
        self, request: DispatchRequest, call: HttpCall, timeout_s: float
    ) -> tuple[HttpCall, Reply]:
        """Wait for its turn, then make the call within its time-out."""
        try:
            # When the task's own time is over, nobody waits for its turn any more.
            async with asyncio.timeout(request.timeout_s) as limit:
                self._under_way.add(limit)
                try:
                    async with self._turns.turn(request, call, limit) as turn:
                        limit.reschedule(asyncio.get_running_loop().time() + timeout_s)
                        last, reply = await self._follow(call, self._reading(request, call, limit))
                        turn.answered(reply)
                        return last, reply
                finally:
                    self._under_way.discard(limit)
        except TimeoutError as error:
            if self._closed:
                raise GatewayError(f"{FAILS}the gateway is closed") from error
            text = f"{FAILS}no answer from {_shown(call)} within {timeout_s:g} s"
            raise GatewayError(ran_out(request, timeout_s, text)) from error

    def _reading(
        self, request: DispatchRequest, call: HttpCall, limit: asyncio.Timeout
    ) -> "_Reading | None":
        if self._budget is None:
            return None
        return _Reading(self._budget, request, call.origin, limit, self._under_way)

    async def _follow(self, call: HttpCall, reading: "_Reading | None") -> tuple[HttpCall, Reply]:
        for _ in range(self._settings.max_redirects + 1):
            reply = await self._connect_and_exchange(call, reading)
            following = redirected(call, reply)
            if following is None:
                return call, reply
            call = following
        raise GatewayError(f"{FAILS}more than {self._settings.max_redirects} redirects")

    async def _connect_and_exchange(self, call: HttpCall, reading: "_Reading | None") -> Reply:
        """Try again, at once, only while no connection could be opened."""
        tries_left = max(1, self._settings.transport_attempts)
        while True:
            tries_left -= 1
            try:
                return await self._exchange(call, reading)
            except NotConnectedError as error:
                if not tries_left:
                    raise NotConnectedError(f"{FAILS}{error}") from error
            except BrokenExchangeError as error:
                raise BrokenExchangeError(f"{FAILS}{error} ({_shown(call)})") from error

    async def _exchange(self, call: HttpCall, reading: "_Reading | None") -> Reply:
        """Make one exchange, and unpack what comes."""
        cap = self._settings.max_response_bytes
        room = None if reading is None else reading.take_room
        reply = await self._opened().exchange(call, most_bytes=cap, room=room)
        encoding = reply.headers.get("content-encoding")
        if encoding is None:
            return reply
        # A few bytes may be packed from megabytes.
        if reading is not None:
            await reading.before_unpacking(cap)
        body = await in_thread(lambda: unpacked(reply.body, encoding, most_bytes=cap))
        return reply._replace(body=body)

    def _opened(self) -> HttpTransport:
        if self._transport is None:
            self._transport = transport_of(self._settings)
        return self._transport


class _Reading:
    """The room for the answer of one call; the time that it waits for room is not the call's."""

    __slots__ = ("_budget", "_host", "_limit", "_limits", "_request")

    def __init__(
        self,
        budget: AnswerBudget,
        request: DispatchRequest,
        host: str,
        limit: asyncio.Timeout,
        limits: set[asyncio.Timeout],
    ) -> None:
        self._budget = budget
        self._request = request
        self._host = host
        self._limit = limit
        self._limits = limits

    def take_room(self, size_bytes: int) -> "asyncio.Future[None] | None":
        """Take room; the call's time stands still until there is some."""
        waits = self._budget.reserve(self._request.call, self._host, size_bytes)
        until_s = self._limit.when()
        if waits is not None and until_s is not None:
            loop = asyncio.get_running_loop()
            left_s = until_s - loop.time()
            self._limit.reschedule(None)

            def go_on(_: object) -> None:
                if self._limit in self._limits and self._limit.when() is None:
                    self._limit.reschedule(loop.time() + left_s)

            waits.add_done_callback(go_on)
        return waits

    async def before_unpacking(self, most_bytes: int) -> None:
        """Wait for room for what an answer is packed from, unless it has some."""
        if not self._budget.has_room(self._request.call):
            waits = self.take_room(most_bytes)
            if waits is not None:
                await waits


def _shown(call: HttpCall) -> str:
    """Name a call without its query, which may carry secrets."""
    return f"{call.method} {call.url.partition('?')[0]}"
