"""Functions as a process of its own that do what a test tells them and remember their calls.

    python tests/cluster/function_service.py [PORT]

The first line on standard output is the address. What a function does is in its path;
``replies`` in its input says what it answers, the last one for ever:

``/answer/...``   answers ``replies``, by the number of calls of this task so far
``/echo/...``     answers what it was sent
``/late/...``     answers 202, then sends each of ``callbacks`` to ``X-Callback-Url``
``/early/...``    sends ``callbacks`` first, and answers 202 after that
``/meet/N/...``   answers when N calls of this execution are inside at once
``/gate/NAME``    answers when the gate was opened by ``POST /_open/NAME``

A reply is ``{status, json | text | base64, headers}``, a callback ``{method, query, json}``.
Without instructions, a number ``n`` of the input comes back as ``n + 1``. A callback that
is not taken is sent again, as a function does that has something to lose.
``GET /_calls/EXECUTION?count=N`` waits for N calls and lists all, in order.
"""

import asyncio
import base64
import json
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import yarl
from aiohttp import web

from rillflow.task_set import TaskSet

PATIENCE_S: Final = 60.0
PAUSE_S: Final = 0.2
MOST_TRIES: Final = 300
STAY_S: Final = 0.02
"""How long calls that have met stay together, so that one too many would be seen."""


@dataclass(slots=True)
class Memory:
    """What the process remembers of one execution."""

    calls: list[dict[str, Any]] = field(default_factory=list)
    replied: Counter[str] = field(default_factory=Counter)
    inside: int = 0
    peak: int = 0


class FunctionService:
    """The functions, and what they remember."""

    def __init__(self) -> None:
        self._memories: defaultdict[str, Memory] = defaultdict(Memory)
        self._changed = asyncio.Condition()
        self._open: set[str] = set()
        self._work = TaskSet[None]()

    def application(self) -> web.Application:
        """Return the process's HTTP application."""
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_get("/_calls/{execution}", self._list_calls)
        app.router.add_post("/_open/{gate}", self._open_gate)
        for path, function in {
            "/answer{rest:.*}": self._answer,
            "/echo{rest:.*}": self._echo,
            "/late{rest:.*}": self._late,
            "/early{rest:.*}": self._early,
            "/meet/{count}{rest:.*}": self._meet,
            "/gate/{gate}": self._gate,
        }.items():
            app.router.add_route("*", path, function)
        return app

    async def _answer(self, request: web.Request) -> web.Response:
        memory, call = await self._enter(request)
        number = memory.replied[call["task"]]
        memory.replied[call["task"]] += 1
        replies = call["input"].get("replies") or [{"json": _result(call)}]
        return _response(replies[min(number, len(replies) - 1)])

    async def _echo(self, request: web.Request) -> web.Response:
        _, call = await self._enter(request)
        return web.json_response({key: call[key] for key in call if key != "input"})

    async def _late(self, request: web.Request) -> web.Response:
        _, call = await self._enter(request)
        self._work.start(_call_back(call))
        return web.Response(status=202)

    async def _early(self, request: web.Request) -> web.Response:
        _, call = await self._enter(request)
        await _call_back(call)
        return web.Response(status=202)

    async def _meet(self, request: web.Request) -> web.Response:
        memory, _ = await self._enter(request)
        count = int(request.match_info["count"])
        memory.inside += 1
        memory.peak = max(memory.peak, memory.inside)
        try:
            await self._until(lambda: memory.peak >= count)
            await asyncio.sleep(STAY_S)
        finally:
            memory.inside -= 1
        return web.json_response({"peak": memory.peak})

    async def _gate(self, request: web.Request) -> web.Response:
        await self._enter(request)
        gate = request.match_info["gate"]
        await self._until(lambda: gate in self._open)
        return web.json_response({"gate": gate})

    async def _open_gate(self, request: web.Request) -> web.Response:
        async with self._changed:
            self._open.add(request.match_info["gate"])
            self._changed.notify_all()
        return web.json_response({"open": sorted(self._open)})

    async def _list_calls(self, request: web.Request) -> web.Response:
        memory = self._memories[request.match_info["execution"]]
        count = int(request.query.get("count", "0"))
        await self._until(lambda: len(memory.calls) >= count)
        return web.json_response(memory.calls)

    async def _enter(self, request: web.Request) -> tuple[Memory, dict[str, Any]]:
        """Note a call; ``input`` is what its query and its JSON or form body bring."""
        text = await request.text()
        call = {
            "method": request.method,
            "path": request.path,
            "query": dict(request.query),
            "headers": {name.lower(): value for name, value in request.headers.items()},
            "body": text,
            "task": request.query.get("name", ""),
            "input": {**request.query, **_body_fields(text)},
        }
        execution = request.query.get("execution_id", "")
        memory = self._memories[execution]
        async with self._changed:
            memory.calls.append(call)
            self._changed.notify_all()
        return memory, call

    async def _until(self, condition: Any) -> None:
        async with self._changed:
            self._changed.notify_all()
            await asyncio.wait_for(self._changed.wait_for(condition), PATIENCE_S)


def _body_fields(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _response(reply: dict[str, Any]) -> web.Response:
    status, headers = reply.get("status", 200), reply.get("headers")
    if "base64" in reply:
        return web.Response(status=status, body=base64.b64decode(reply["base64"]), headers=headers)
    if "text" in reply:
        return web.Response(status=status, text=reply["text"], headers=headers)
    return web.json_response(reply.get("json", {}), status=status, headers=headers)


async def _call_back(call: dict[str, Any]) -> None:
    async with aiohttp.ClientSession() as session:
        for callback in call["input"].get("callbacks") or [{"json": _result(call)}]:
            url = yarl.URL(call["headers"]["x-callback-url"], encoded=True)
            url = url.update_query(callback.get("query", {}))
            for _ in range(MOST_TRIES):
                if await _is_taken(session, callback, url):
                    break
                await asyncio.sleep(PAUSE_S)


async def _is_taken(
    session: aiohttp.ClientSession, callback: dict[str, Any], url: yarl.URL
) -> bool:
    method, body = callback.get("method", "POST"), callback.get("json")
    try:
        async with session.request(method, url, json=body) as response:
            await response.read()
            return response.status < 500
    except aiohttp.ClientError:
        return False


def _result(call: dict[str, Any]) -> dict[str, Any]:
    return {"n": call["input"]["n"] + 1} if "n" in call["input"] else {}


async def main(port: int) -> None:
    """Serve until killed."""
    runner = web.AppRunner(FunctionService().application(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    sys.stdout.write(f"http://127.0.0.1:{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
