"""The HTTP gateway: Rill Flow's dialect over one pool of connections (SEMANTICS 4.4, 9.2)."""

import asyncio
import errno
import io
import logging
from typing import Final

import aiohttp
import yarl

from rillflow.errors import GatewayError
from rillflow.gateways.answers import Reply, answered, failed, redirected
from rillflow.gateways.connections import check_literal, open_session
from rillflow.gateways.requests import FAILS, HttpCall, build_request, call_timeout_s, ran_out
from rillflow.gateways.settings import HttpSettings
from rillflow.gateways.slots import HostSlots
from rillflow.ports.clock import Clock
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest

_log = logging.getLogger(__name__)

_LARGE_BODY_BYTES: Final = 1024 * 1024
_NOT_CONNECTED: Final = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
_RESETS: Final = frozenset({errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED})
_REASONS: Final = (
    (aiohttp.ConnectionTimeoutError, "no connection within the time-out"),
    (aiohttp.ServerDisconnectedError, "the connection was closed before an answer"),
    (aiohttp.ClientPayloadError, "the answer broke off"),
    (aiohttp.ClientResponseError, "the answer is not HTTP"),
)


class HttpGateway:
    """Calls functions over HTTP; every failure is an answer, none an exception.

    One session, opened by the first call, in the loop that makes it.
    """

    def __init__(self, settings: HttpSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._slots = HostSlots(per_host=settings.limit_per_host, total=settings.pool_size)
        self._session: aiohttp.ClientSession | None = None
        self._under_way: set[asyncio.Timeout] = set()
        self._closed = False

    async def call(self, request: DispatchRequest) -> DispatchAnswer:
        """Make one attempt over HTTP."""
        try:
            return await self._call(request)
        except GatewayError as error:
            return failed(request, str(error))
        except Exception as error:  # noqa: BLE001 - the port promises an answer
            # A traceback may show what was sent.
            _log.error(
                "gateway.unexpected",
                extra={"execution_id": request.execution_id, "kind": type(error).__name__},
                exc_info=not request.secrets,
            )
            return failed(request, f"{FAILS}{_reason(error)}")

    async def close(self) -> None:
        """Close the pool; calls under way end with an error, and so do later ones."""
        self._closed = True
        now = asyncio.get_running_loop().time()
        for limit in self._under_way:
            if not limit.expired():
                limit.reschedule(now)
        if self._session is not None:
            await self._session.close()

    async def _call(self, request: DispatchRequest) -> DispatchAnswer:
        if self._closed:
            raise GatewayError(f"{FAILS}the gateway is closed")
        now_ms = request.at_ms or self._clock.now_ms()
        call = build_request(request, self._settings, now_ms=now_ms)
        timeout_s = call_timeout_s(request, self._settings)
        last, reply = await self._limited(request, call, timeout_s)
        return answered(request, reply, url=last.url, now_ms=self._clock.now_ms())

    async def _limited(
        self, request: DispatchRequest, call: HttpCall, timeout_s: float
    ) -> tuple[HttpCall, Reply]:
        """Wait for a slot, then make the call within its time-out."""
        try:
            async with asyncio.timeout(None) as limit:
                self._under_way.add(limit)
                try:
                    async with self._slots.slot(call.origin):
                        limit.reschedule(asyncio.get_running_loop().time() + timeout_s)
                        return await self._follow(call)
                finally:
                    self._under_way.discard(limit)
        except TimeoutError as error:
            if self._closed:
                raise GatewayError(f"{FAILS}the gateway is closed") from error
            text = f"{FAILS}no answer from {_shown(call)} within {timeout_s:g} s"
            raise GatewayError(ran_out(request, timeout_s, text)) from error

    async def _follow(self, call: HttpCall) -> tuple[HttpCall, Reply]:
        for _ in range(self._settings.max_redirects + 1):
            reply = await self._connect_and_exchange(call)
            following = redirected(call, reply)
            if following is None:
                return call, reply
            call = following
        raise GatewayError(f"{FAILS}more than {self._settings.max_redirects} redirects")

    async def _connect_and_exchange(self, call: HttpCall) -> Reply:
        """Try again, at once, only while no connection could be opened."""
        url = yarl.URL(call.url, encoded=True)
        check_literal(self._settings.egress, url.host)
        attempts = max(1, self._settings.transport_attempts)
        for tries_left in reversed(range(attempts)):
            try:
                return await self._exchange(call, url)
            except _NOT_CONNECTED as error:
                if not tries_left:
                    raise GatewayError(f"{FAILS}{_reason(error)}") from error
            except (aiohttp.ClientError, OSError) as error:
                raise GatewayError(f"{FAILS}{_reason(error)} ({_shown(call)})") from error
        raise GatewayError(f"{FAILS}no attempt was made")

    async def _exchange(self, call: HttpCall, url: yarl.URL) -> Reply:
        body = call.body
        data = io.BytesIO(body) if body is not None and len(body) > _LARGE_BODY_BYTES else body
        async with self._opened().request(
            call.method, url, data=data, headers=call.headers, allow_redirects=False
        ) as response:
            text = await self._read(response)
            return Reply(response.status, response.reason or "", response.headers, text)

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        """Read the body up to the cap; compressed bodies count unpacked."""
        cap = self._settings.max_response_bytes
        announced = response.content_length
        if announced is not None and announced <= cap and _is_plain(response):
            return await response.read()
        chunks: list[bytes] = []
        size = 0
        async for chunk in response.content.iter_any():
            size += len(chunk)
            if size > cap:
                response.close()
                raise GatewayError(f"{FAILS}the answer is larger than {cap} bytes")
            chunks.append(chunk)
        return b"".join(chunks)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = open_session(self._settings)
        return self._session


def _is_plain(response: aiohttp.ClientResponse) -> bool:
    return "Content-Encoding" not in response.headers


def _shown(call: HttpCall) -> str:
    """Name a call without its query, which may carry secrets."""
    return f"{call.method} {call.url.partition('?')[0]}"


def _reason(error: Exception) -> str:
    """Say in a few words what a transport error means; the most specific class wins."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot connect to {error.host}:{error.port}: {error.os_error}"
    for kind, text in _REASONS:
        if isinstance(error, kind):
            return text
    if isinstance(error, OSError) and error.errno in _RESETS:
        return "the connection was reset"
    return str(error) or type(error).__name__
