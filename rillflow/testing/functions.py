"""Functions of the gateway double: plain Python callables, or real services by URL.

Used by `testing`, `testing/function_gateway.py` and `testing/openfaas.py`.
"""

import asyncio
import gzip
import inspect
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import aiohttp
import yarl
from multidict import CIMultiDict

HOP_BY_HOP: Final = frozenset(
    {"connection", "content-length", "host", "keep-alive", "transfer-encoding", "upgrade"}
)

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_UNIT_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_THREADS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionRequest:
    """What a function is called with; header look-up ignores case."""

    function: str
    method: str = "POST"
    path: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    raw_query: str = ""

    def json(self) -> Any:
        """Read the body as JSON; None when it is empty."""
        return json.loads(self.body) if self.body else None

    def text(self) -> str:
        """Read the body as UTF-8 text."""
        return self.body.decode()


@dataclass(frozen=True, slots=True)
class FunctionAnswer:
    """What a function answered."""

    status: int
    body: bytes
    headers: CIMultiDict[str]


Handler: TypeAlias = Callable[[FunctionRequest], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A function and how its gateway treats it.

    ``handler`` takes a FunctionRequest, as a plain or a coroutine function, and
    returns a dict or list (JSON), text, bytes, None, or ``(status, body, headers)``;
    a URL stands for a service that is called instead. ``delay_s`` passes before the
    handler runs. ``timeout_s`` and ``max_inflight`` answer 504 and 429.
    ``compress`` packs answers with gzip. In asynchronous calls, ``deliveries`` of 2
    runs the function and its callback twice, ``drop_callback`` loses the callback,
    and ``retries`` repeats failures as commercial editions do.
    """

    handler: Handler | str
    delay_s: float = 0.0
    timeout_s: float | None = None
    max_inflight: int | None = None
    compress: bool = False
    deliveries: int = 1
    drop_callback: bool = False
    retries: int = 0


class Functions:
    """Runs the functions of a gateway by name, ``name`` or ``name.namespace``."""

    def __init__(
        self,
        functions: Mapping[str, Function | Handler | str],
        raised: Callable[[str, Exception], None],
    ) -> None:
        """Run these; ``raised`` is told of each function that raises something."""
        self._raised = raised
        self._functions = {
            name: given if isinstance(given, Function) else Function(handler=given)
            for name, given in functions.items()
        }
        self._in_flight: dict[str, int] = {}
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="function")
        self._session: aiohttp.ClientSession | None = None

    def find(self, name: str) -> Function | None:
        """Return a function, looked up with and without its namespace."""
        return self._functions.get(name) or self._functions.get(name.partition(".")[0])

    async def run(self, function: Function, request: FunctionRequest) -> FunctionAnswer | None:
        """Run a function within its limits; None when it cannot be reached."""
        running = self._in_flight.get(request.function, 0)
        if function.max_inflight is not None and running >= function.max_inflight:
            return text_answer(429, "concurrent request limit exceeded")
        self._in_flight[request.function] = running + 1
        try:
            async with asyncio.timeout(_limit_s(function, request)):
                answer = await self._answer(function, request)
        except TimeoutError:
            return text_answer(504, "the function timed out")
        finally:
            self._in_flight[request.function] -= 1
        return _compressed(answer) if answer is not None and function.compress else answer

    async def close(self) -> None:
        """Release the connections to functions that are URLs."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._session is not None:
            await self._session.close()

    async def _answer(self, function: Function, request: FunctionRequest) -> FunctionAnswer | None:
        if function.delay_s:
            await asyncio.sleep(function.delay_s)
        if isinstance(function.handler, str):
            return await self._forward(function.handler, request)
        try:
            return _as_answer(await self._call(function.handler, request))
        except Exception as error:  # noqa: BLE001 - a function may raise anything
            self._raised(request.function, error)
            return text_answer(500, ": ".join(filter(None, (type(error).__name__, str(error)))))

    async def _call(self, handler: Handler, request: FunctionRequest) -> object:
        if inspect.iscoroutinefunction(handler):
            return await handler(request)
        loop = asyncio.get_running_loop()
        result = await loop.run_in_executor(self._threads, handler, request)
        return await result if isinstance(result, Awaitable) else result

    async def _forward(self, base: str, request: FunctionRequest) -> FunctionAnswer | None:
        if self._session is None:
            self._session = aiohttp.ClientSession(auto_decompress=False)
        query = f"?{request.raw_query}" if request.raw_query else ""
        url = yarl.URL(f"{base.rstrip('/')}{request.path}{query}", encoded=True)
        headers = without_hop_by_hop(request.headers)
        try:
            async with self._session.request(
                request.method, url, data=request.body, headers=headers, allow_redirects=False
            ) as response:
                body = await response.read()
                return FunctionAnswer(response.status, body, without_hop_by_hop(response.headers))
        except aiohttp.ClientError:
            return None


def text_answer(status: int, text: str) -> FunctionAnswer:
    """Build an answer of plain text that names no content type."""
    return FunctionAnswer(status, text.encode(), CIMultiDict())


def without_hop_by_hop(headers: Mapping[str, str]) -> CIMultiDict[str]:
    """Copy headers, leaving out those that belong to one connection."""
    return CIMultiDict(
        (name, value) for name, value in headers.items() if name.lower() not in HOP_BY_HOP
    )


def duration_s(text: str | None) -> float | None:
    """Read a duration as Go writes it (``1m30s``, ``250ms``) or plain seconds; None if neither."""
    if not text:
        return None
    parts = _DURATION.findall(text)
    if parts and "".join(map("".join, parts)) == text:
        return sum(float(number) * _UNIT_S[unit] for number, unit in parts)
    try:
        return float(text)
    except ValueError:
        return None


def _limit_s(function: Function, request: FunctionRequest) -> float | None:
    asked = duration_s(request.headers.get("X-Timeout"))
    limits = [limit for limit in (function.timeout_s, asked) if limit is not None]
    return min(limits, default=None)


def _as_answer(result: object) -> FunctionAnswer:
    if isinstance(result, FunctionAnswer):
        return result
    status, headers = 200, CIMultiDict[str]()
    if isinstance(result, tuple):
        status, result, *rest = result
        headers.update(rest[0] if rest else {})
    if isinstance(result, str):
        return FunctionAnswer(status, result.encode(), headers)
    if result is None or isinstance(result, bytes):
        return FunctionAnswer(status, result or b"", headers)
    headers.setdefault("Content-Type", "application/json")
    return FunctionAnswer(status, json.dumps(result).encode(), headers)


def _compressed(answer: FunctionAnswer) -> FunctionAnswer:
    headers = CIMultiDict(answer.headers)
    headers["Content-Encoding"] = "gzip"
    return FunctionAnswer(answer.status, gzip.compress(answer.body), headers)
