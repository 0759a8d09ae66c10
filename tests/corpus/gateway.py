"""The function gateway of recorded workflows: answers by script, and remembers its calls."""

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import aiohttp
from aiohttp import web

from rillflow.task_set import TaskSet
from tests.corpus.caller import Caller, Json

CALLBACK_DELAY_S: Final = 0.04
LARGEST_BYTES: Final = 16 * 1024 * 1024
OVER: Final = {"result_type": "FAILED", "error_msg": "case over"}
_HOLE: Final = re.compile(r"\{\{([^{}]+)\}\}")


class Session:
    """One run of one case: its script, the calls that came, and when something last happened."""

    def __init__(self, script: Mapping[str, list[Json]]) -> None:
        self.calls: list[tuple[str, Json]] = []
        self._script = script
        self._attempts: Counter[tuple[str, str]] = Counter()
        self._busy = 0
        self._last_s = time.monotonic()

    def touch(self, step: int = 0) -> None:
        """Note that something happens; ``step`` counts what has begun and not ended."""
        self._busy += step
        self._last_s = time.monotonic()

    def quiet_s(self) -> float:
        """How long nothing has happened."""
        return 0.0 if self._busy else time.monotonic() - self._last_s

    def answer(self, execution_id: str, name: str, function: str) -> tuple[Json, int]:
        """Return the script's answer to this attempt of an instance, and its number."""
        answers = self._script.get(name) or self._script.get(function) or [{}]
        self._attempts[execution_id, name] += 1
        attempt = self._attempts[execution_id, name]
        return answers[min(attempt, len(answers)) - 1], attempt


class ScriptedGateway:
    """Serves the functions of all runs that are under way, each below a path of its own."""

    def __init__(self, caller: Caller) -> None:
        self.sessions: dict[str, Session] = {}
        self._caller = caller
        self._callbacks = TaskSet[None]()
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen on a free port."""
        app = web.Application(client_max_size=LARGEST_BYTES)
        app.router.add_route("*", "/c/{run}/{function}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, backlog=512).start()

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    def url(self, run: str) -> str:
        """Return the address of the functions of one run."""
        assert self._runner is not None
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}/c/{run}"

    async def _handle(self, request: web.Request) -> web.Response:
        session = self.sessions.get(request.match_info["run"])
        if session is None:
            return web.json_response(OVER)
        function = request.match_info["function"]
        query = dict(request.query)
        name, execution_id = query.pop("name", function), query.pop("execution_id", "")
        headers = {key.lower(): value for key, value in request.headers.items()}
        body = read_body((await request.read()).decode("utf-8", "replace"), headers)
        seen = {k: v for k, v in headers.items() if k == "x-mode" or k.startswith("x-my-")}
        session.calls.append(
            (name, {"method": request.method, "query": query, "headers": seen, "body": body})
        )
        answer, attempt = session.answer(execution_id, name, function)
        known = {"body": body or {}, "query": query, "name": name, "attempt": attempt}
        session.touch(+1)
        try:
            if spec := answer.get("callback"):
                address = callback_address(spec, headers, execution_id, name)
                self._callbacks.start(self._call_back(session, spec, known, address))
            status = answer.get("status", 200)
            if "text" in answer:
                text, kind = answer["text"], "application/json"
                return web.Response(status=status, text=text, content_type=kind)
            return web.json_response(filled(answer.get("json", {}), known), status=status)
        finally:
            session.touch(-1)

    async def _call_back(
        self, session: Session, spec: Json, known: Json, address: tuple[str, Json]
    ) -> None:
        session.touch(+1)
        try:
            await asyncio.sleep(spec.get("delay", CALLBACK_DELAY_S))
            body = filled(spec["body"], known) if "body" in spec else None
            said = {key: as_text(filled(v, known)) for key, v in (spec.get("query") or {}).items()}
            path, query = address
            method = spec.get("method", "POST")
            await self._caller.call(method, path, {**query, **said}, body=body)
        except (aiohttp.ClientError, TimeoutError):
            return  # whoever waits for it tells
        finally:
            session.touch(-1)


def callback_address(
    spec: Json, headers: Mapping[str, str], execution_id: str, name: str
) -> tuple[str, Json]:
    """Return where a callback goes: the path, with what the address says, and more query."""
    if spec.get("via") == "finish":
        return "/flow/finish.json", {"execution_id": execution_id, "task_name": name}
    parts = urlsplit(headers["x-callback-url"])
    return f"{parts.path}?{parts.query}", {}


def read_body(text: str, headers: Mapping[str, str]) -> Json:
    """Read a request's body, without the execution's id that every body carries."""
    if "x-www-form-urlencoded" in headers.get("content-type", ""):
        fields = parse_qsl(text, keep_blank_values=True)
        return {"form": {key: _form_value(v) for key, v in fields if key != "execution_id"}}
    try:
        body = json.loads(text) if text else None
    except ValueError:
        return {"unreadable": text}
    if isinstance(body, dict):
        body.pop("execution_id", None)
    return body


def _form_value(text: str) -> Json:
    """Maps and lists travel in forms as JSON text."""
    try:
        return json.loads(text) if text[:1] in ("{", "[") else text
    except ValueError:
        return text


def filled(value: Json, known: Json) -> Json:
    """Fill ``{{path}}`` in; a text that is nothing else keeps the type of what it stands for."""
    if isinstance(value, dict):
        return {key: filled(each, known) for key, each in value.items()}
    if isinstance(value, list):
        return [filled(each, known) for each in value]
    if not isinstance(value, str):
        return value
    if whole := _HOLE.fullmatch(value):
        return _found(known, whole[1])
    return _HOLE.sub(lambda hole: as_text(_found(known, hole[1])), value)


def _found(value: Json, path: str) -> Json:
    for part in path.split("."):
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def as_text(value: Json) -> str:
    """Return text as it is, and JSON of anything else."""
    return value if isinstance(value, str) else json.dumps(value)
