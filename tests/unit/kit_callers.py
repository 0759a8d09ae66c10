"""A caller of an application of functions, and the callback route that its calls name."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx
from aiohttp import web

from rillflow.functions import Functions
from tests.loopback import web_server

WAIT_S: Final = 20
TASK: Final = {"execution_id": "demo:film_c_1", "name": "cut"}


class Server:
    """The callback route of a server, which notes what it gets, and refuses some of it."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.url = ""
        self.arrived: asyncio.Queue[tuple[dict[str, str], dict[str, str], Any]] = asyncio.Queue()

    async def take(self, request: web.Request) -> web.Response:
        text = await request.text()
        is_log = request.content_type == "text/plain"
        body = text if is_log else await request.json() if text else None
        await self.arrived.put((dict(request.query), dict(request.headers), body))
        status = self.statuses.pop(0) if self.statuses else 200
        return web.json_response({"result": "ok"}, status=status)

    def address(self, **more: Any) -> str:
        query = "&".join(f"{name}={value}" for name, value in more.items())
        return f"{self.url}/flow/trigger.json?execution_id=demo:film_c_1&task_name=cut&{query}"

    async def next(self) -> tuple[dict[str, str], dict[str, str], Any]:
        return await asyncio.wait_for(self.arrived.get(), WAIT_S)


class Caller:
    """Calls an application as a server does."""

    def __init__(self, app: Functions, server: Server) -> None:
        transport = httpx.ASGITransport(app=app)
        self.http = httpx.AsyncClient(transport=transport, base_url="http://here")
        self.app = app
        self.server = server

    async def call(self, path: str, fields: Any = None, **headers: str) -> httpx.Response:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        body = {"execution_id": TASK["execution_id"], **(fields or {})}
        return await self.http.post(path, json=body, params=TASK, headers=sent)

    async def accept(self, path: str, fields: Any = None, **headers: str) -> httpx.Response:
        address = {"x_callback_url": self.server.address(), "x_mode": "async"}
        return await self.call(path, fields, **(address | headers))


@asynccontextmanager
async def calling(app: Functions, *statuses: int) -> AsyncIterator[Caller]:
    server = Server(*statuses)
    async with web_server(**{"flow/trigger.json": server.take}) as url:
        server.url = url
        caller = Caller(app, server)
        async with caller.http:
            yield caller
        await app.drain()
