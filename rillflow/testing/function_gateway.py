"""A function gateway that behaves like OpenFaaS on the wire, for tests, examples and demos.

In a test it runs in the process: ``async with FakeOpenFaaS({"greet": greet}) as gateway``.
``rillflow.testing.openfaas`` runs it as a process of its own.

Used by `testing` and `testing/openfaas.py`.
"""

import asyncio
import re
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from traceback import format_exception
from typing import Final, Self

import aiohttp
import yarl
from aiohttp import web
from multidict import CIMultiDict

from rillflow.task_set import TaskSet
from rillflow.testing.functions import (
    Function,
    FunctionAnswer,
    FunctionRequest,
    Functions,
    Handler,
    without_hop_by_hop,
)
from rillflow.url_parts import split_url

SERVED_BY: Final = "rillflow-testing"

_LARGEST_REQUEST_BYTES: Final = 64 * 1024 * 1024
_CALLBACK_TIMEOUT_S: Final = 30.0
_NOBODY: Final = (None, 502, 503)
_AGAIN_S: Final = 0.5
_NO_URL: Final = re.compile(r"[\x00-\x20\x7f]|%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedCall:
    """A call that reached a function."""

    request: FunctionRequest
    asynchronous: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedCallback:
    """A callback that was sent; ``answer_status`` is None when nobody took it."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    answer_status: int | None


class FakeOpenFaaS:
    """The gateway: synchronous and asynchronous calls, callbacks, and their faults.

    ``calls`` and ``callbacks`` list what happened, in order, while ``record`` is on.
    ``queue_is_down`` makes asynchronous calls answer 500. ``tell`` gets a line for each call
    when it is over: the function, its status and how long it took, never what was sent; and
    the traceback of what a function raises. A callback is sent once, as OpenFaaS does; where
    ``callback_patience_s`` is set, again for so long while nobody takes it.
    """

    def __init__(
        self,
        functions: Mapping[str, Function | Handler | str],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        record: bool = True,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.calls: list[RecordedCall] = []
        self.callbacks: list[RecordedCallback] = []
        self.queue_is_down = False
        self.callback_patience_s = 0.0
        self._functions = Functions(functions, self._raised)
        self._host, self._port, self._record = host, port, record
        self._tell = tell
        self._background = TaskSet[None]()
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None

    @property
    def url(self) -> str:
        """Base address, without a slash at its end; known once started."""
        return f"http://{self._host}:{self._port}"

    async def start(self) -> None:
        """Listen; a port of 0 becomes a free one."""
        app = web.Application(client_max_size=_LARGEST_REQUEST_BYTES)
        app.router.add_get("/healthz", _healthz)
        app.router.add_route("*", "/function/{name}{path:(/.*)?}", self._call)
        app.router.add_post("/async-function/{name}{path:(/.*)?}", self._queue)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()
        self._port = self._runner.addresses[0][1]
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=_CALLBACK_TIMEOUT_S),
            skip_auto_headers=("Accept-Encoding", "Content-Type"),
        )

    async def stop(self) -> None:
        """Stop listening; calls and callbacks under way are lost, as in a crash."""
        await self._background.stop()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()
        await self._functions.close()

    async def drain(self) -> None:
        """Wait until every queued call has run and called back."""
        while len(self._background):
            await self._background.wait()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _call(self, http: web.Request) -> web.Response:
        """Answer ``/function/NAME``: the function's own answer, with the gateway's headers."""
        request = await _function_request(http)
        started = time.perf_counter()
        function = self._functions.find(request.function)
        if function is None:
            self._told(request, 503, 0, ", there is no such function")
            return web.Response(status=503, text=f"No endpoints available for: {request.function}.")
        answer = await self._run(function, request, asynchronous=False)
        duration_s = time.perf_counter() - started
        if answer is None:
            self._told(request, 502, duration_s, ", its service cannot be reached")
            return web.Response(status=502, text=f"Can't reach service for: {request.function}.")
        self._told(request, answer.status, duration_s)
        headers = CIMultiDict(answer.headers)
        headers["X-Call-Id"] = request.headers["X-Call-Id"]
        headers["X-Duration-Seconds"] = f"{duration_s:f}"
        return web.Response(status=answer.status, body=answer.body, headers=headers)

    async def _queue(self, http: web.Request) -> web.Response:
        """Answer ``/async-function/NAME``: 202 and nothing, and the call runs later."""
        callback_url = http.headers.get("X-Callback-Url")
        if callback_url is not None and not _parses(callback_url):
            return web.Response(status=400, text="X-Callback-Url is not a URL")
        if self.queue_is_down:
            return web.Response(status=500, text="cannot queue the call")
        request = await _function_request(http)
        function = self._functions.find(request.function)
        for _ in range(function.deliveries if function else 1):
            self._background.start(self._deliver(function, request, callback_url))
        headers = {"X-Start-Time": str(time.time_ns()), "X-Served-By": SERVED_BY}
        if "X-Call-Id" not in http.headers:
            headers["X-Call-Id"] = request.headers["X-Call-Id"]
        return web.Response(status=202, headers=headers)

    async def _deliver(
        self, function: Function | None, request: FunctionRequest, callback_url: str | None
    ) -> None:
        """Run a queued call, again after failures if so set, calling back each time."""
        retries = function.retries if function else 0
        for retry in range(retries + 1):
            started = time.perf_counter()
            answer = await self._run(function, request, asynchronous=True) if function else None
            duration_s = time.perf_counter() - started
            headers = _callback_headers(request, answer, duration_s=duration_s)
            if retries:
                headers |= {"X-Retry": str(retry), "X-Retry-Max": str(retries)}
            called_back = ", asynchronous, no callback"
            if callback_url is not None and not (function and function.drop_callback):
                body = answer.body if answer else b""
                taken = await self._call_back_patiently(callback_url, headers, body)
                called_back = f", asynchronous, callback answered {taken or 'by no server'}"
            status = answer.status if answer else 503
            self._told(request, status, duration_s, called_back)
            if answer is not None and answer.status < 300:
                return

    async def _run(
        self, function: Function, request: FunctionRequest, *, asynchronous: bool
    ) -> FunctionAnswer | None:
        if self._record:
            self.calls.append(RecordedCall(request=request, asynchronous=asynchronous))
        return await self._functions.run(function, request)

    def _raised(self, name: str, error: Exception) -> None:
        """Show the author of a function where it failed."""
        if self._tell is not None:
            self._tell(f"{name} failed\n{''.join(format_exception(error)).rstrip()}")

    def _told(
        self, request: FunctionRequest, status: int, duration_s: float, more: str = ""
    ) -> None:
        if self._tell is not None:
            # A name comes from an address, and could hold a line break.
            name = request.function if request.function.isprintable() else ascii(request.function)
            self._tell(f"{name} {status} {duration_s * 1000:.0f} ms{more}")

    async def _call_back_patiently(
        self, url: str, headers: dict[str, str], body: bytes
    ) -> int | None:
        """Send a callback until somebody takes it, or patience ends."""
        give_up_s = time.monotonic() + self.callback_patience_s
        status = await self._call_back(url, headers, body)
        while status in _NOBODY and time.monotonic() < give_up_s:
            await asyncio.sleep(_AGAIN_S)
            status = await self._call_back(url, headers, body)
        return status

    async def _call_back(self, url: str, headers: dict[str, str], body: bytes) -> int | None:
        """Send a callback, once; return how it was answered, None when nobody took it."""
        status: int | None = None
        if self._session is not None:
            try:
                target = yarl.URL(url, encoded=True)
                async with self._session.post(target, data=body, headers=headers) as response:
                    await response.read()
                    status = response.status
            except (aiohttp.ClientError, TimeoutError, ValueError):
                status = None
        if self._record:
            self.callbacks.append(
                RecordedCallback(url=url, headers=headers, body=body, answer_status=status)
            )
        return status


async def _healthz(_: web.Request) -> web.Response:
    return web.Response(text="OK")


async def _function_request(http: web.Request) -> FunctionRequest:
    """Take a request apart for the function; it gets all headers, and always a call id."""
    headers = CIMultiDict(http.headers)
    headers.setdefault("X-Call-Id", str(uuid.uuid4()))
    headers.setdefault("X-Start-Time", str(time.time_ns()))
    _, _, after = http.rel_url.raw_path.partition("function/")
    _, slash, path = after.partition("/")
    return FunctionRequest(
        function=http.match_info["name"],
        method=http.method,
        path=slash + path,
        query=dict(http.query),
        headers=headers,
        body=await http.read(),
        raw_query=http.rel_url.raw_query_string,
    )


def _callback_headers(
    request: FunctionRequest, answer: FunctionAnswer | None, *, duration_s: float
) -> dict[str, str]:
    """Build a callback's headers: all of the function's, then the gateway's own.

    A function that names no content type gets that of its *request*, so that text can
    arrive as ``application/json``; one that cannot be reached has no headers at all.
    """
    headers: dict[str, str] = {}
    if answer is not None:
        headers.update(without_hop_by_hop(answer.headers))
        content_type = request.headers.get("Content-Type")
        if content_type and "Content-Type" not in answer.headers:
            headers["Content-Type"] = content_type
    return headers | {
        "X-Duration-Seconds": f"{duration_s:f}",
        "X-Function-Status": str(answer.status if answer is not None else 503),
        "X-Function-Name": request.function,
        "X-Call-Id": request.headers["X-Call-Id"],
    }


def _parses(url: str) -> bool:
    try:
        split_url(url).port  # noqa: B018 - reading the port checks it
    except ValueError:
        return False
    return not _NO_URL.search(url)
