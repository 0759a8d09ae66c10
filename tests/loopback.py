"""Servers on loopback that speak bytes or HTTP, and calls to them through the HTTP gateway."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiohttp import web

from rillflow.gateways.http.gateway import HttpGateway
from rillflow.gateways.outbound.settings import HttpSettings
from rillflow.jsontypes import encode_json
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest
from rillflow.ports.messages import (
    Answers,
    GetLoopState,
    GetMeters,
    decode_dispatcher_message,
    decode_owner_message,
)
from rillflow.runtime.dispatch.client import Connection
from rillflow.runtime.endpoints.dispatcher_endpoint import DispatcherEndpoint
from serve.listening import free_port

FAILS = "dispatchTask http fails due to "
PATIENT_S = 10.0
NOW_MS = 1_700_000_000_000

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class StoppedClock:
    """A clock that stands still."""

    def now_ms(self) -> int:
        return NOW_MS

    def monotonic_s(self) -> float:
        return 0.0


class ManualClock:
    """A clock that a test moves; its wall time may be set wrong."""

    def __init__(self) -> None:
        self._passed_s = 0.0
        self.wrong_by_s = 0.0

    def now_ms(self) -> int:
        return NOW_MS + int((self._passed_s + self.wrong_by_s) * 1000)

    def monotonic_s(self) -> float:
        return self._passed_s

    def forward(self, seconds: float) -> None:
        self._passed_s += seconds


class RawServer:
    """Speaks bytes, and counts connections and requests."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self.connections = 0
        self.requests = 0
        self.port = 0
        self.arrived = asyncio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/work"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await read_request(reader):
                self.requests += 1
                self.arrived.set()
                await self._talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def read_request(reader: asyncio.StreamReader) -> bool:
    head = await reader.readuntil(b"\r\n\r\n")
    length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    if length:
        await reader.readexactly(int(length[0].partition(b":")[2]))
    return True


@asynccontextmanager
async def raw_server(talk: Talk, host: str = "127.0.0.1") -> AsyncIterator[RawServer]:
    state = RawServer(talk)
    server = await asyncio.start_server(state.serve, host, 0)
    state.port = server.sockets[0].getsockname()[1]
    try:
        yield state
    finally:
        server.close()


@asynccontextmanager
async def web_server(**handlers: Handler) -> AsyncIterator[str]:
    app = web.Application()
    for name, handler in handlers.items():
        app.router.add_route("*", f"/{name}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def closed_port() -> int:
    """Return a port on which nobody listens, and which nobody is given who asks for any port."""
    return free_port()


def attempt(url: str, **changes: Any) -> DispatchRequest:
    fields: dict[str, Any] = {
        "execution_id": "b:f_c_1",
        "task": "A",
        "attempt": 1,
        "pattern": "task_sync",
        "resource_name": url,
    }
    return DispatchRequest(**(fields | changes))


@asynccontextmanager
async def gateway(**changes: Any) -> AsyncIterator[HttpGateway]:
    opened = HttpGateway(HttpSettings(**({"call_timeout_s": PATIENT_S} | changes)), StoppedClock())
    try:
        yield opened
    finally:
        await opened.close()


async def call(url: str, settings: dict[str, Any] | None = None, **changes: Any) -> DispatchAnswer:
    async with gateway(**(settings or {})) as opened:
        return await opened.call(attempt(url, **changes))


def answering(payload: bytes) -> Talk:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(payload)
        await writer.drain()
        writer.close()

    return talk


def responding(*args: Any, **kwargs: Any) -> Handler:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(*args, **kwargs)

    return handler


async def echo(request: web.Request) -> web.Response:
    seen = {
        "method": request.method,
        "body": await request.text(),
        "type": request.headers.get("Content-Type"),
        "secret": request.headers.get("Authorization"),
    }
    return web.Response(body=encode_json(seen))


def moved(status: int, location: str = "/echo") -> Handler:
    return responding(status=status, headers={"Location": location})


class GatedFunction:
    """A function, in the place of a gateway, that answers once it may and notes who called."""

    def __init__(self) -> None:
        self.answers = asyncio.Event()
        self.called: asyncio.Queue[DispatchRequest] = asyncio.Queue()

    async def call(self, request: DispatchRequest) -> DispatchAnswer:
        """Answer once ``answers`` is set."""
        self.called.put_nowait(request)
        await self.answers.wait()
        return DispatchAnswer(
            execution_id=request.execution_id,
            task=request.task,
            attempt=request.attempt,
            body=b"{}",
            http_status=200,
        )

    async def close(self) -> None:
        """Nothing is open."""


def connection_to(endpoint: DispatcherEndpoint) -> Connection:
    """Return a connection to a dispatcher's endpoint in this process."""

    async def send(data: bytes) -> bytes:
        message = decode_dispatcher_message(data)
        assert not isinstance(message, Answers | GetLoopState | GetMeters)
        return await endpoint.take(message)

    return send


def answers_in(data: bytes) -> list[DispatchAnswer]:
    """Return the answers of a message to an owner."""
    message = decode_owner_message(data)
    assert isinstance(message, Answers)
    return message.answers


async def opened(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a port of this machine, once somebody listens; limit the time around it."""
    while True:
        with suppress(ConnectionRefusedError):
            return await asyncio.open_connection("127.0.0.1", port)
        await asyncio.sleep(0)
