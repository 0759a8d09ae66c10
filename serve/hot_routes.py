"""The routes that every step of a workflow passes, without a framework in between."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from rillflow.actors.stack import Stack
from rillflow.core.events import CallbackReceived
from rillflow.errors import RequestError
from rillflow.gateways.callbacks import Callback, read_callback, read_finish
from rillflow.ids import is_execution_id
from rillflow.jsontypes import encode_json
from serve.errors import respond_to
from serve.submission import read_submission
from serve.wire import json_response, raw_response, read_body, required, ret_response

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]

OK = b'{"result":"ok"}'
DUPLICATE = b'{"result":"ok","duplicate":true}'
UNKNOWN_EXECUTION = b'{"tasks":"{}","context":{},"invoke_summary":{}}'


class HotRoutes:
    """An ASGI application that answers the hot routes and passes on the others."""

    def __init__(self, cold: ASGIApp, stack: Stack) -> None:
        self._cold = cold
        self._stack = stack
        self.handlers: dict[tuple[str, str], Handler] = {
            ("POST", "/flow/submit.json"): self.submit,
            ("POST", "/flow/finish.json"): self.finish,
            ("GET", "/flow/trigger.json"): self.trigger,
            ("POST", "/flow/trigger.json"): self.trigger,
            ("GET", "/flow/get.json"): self.get,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        handler = None
        if scope["type"] == "http":
            handler = self.handlers.get((scope["method"], scope["path"]))
        if handler is None:
            await self._cold(scope, receive, send)
            return
        try:
            response = await handler(Request(scope, receive))
        except Exception as error:  # noqa: BLE001 - every request gets an answer
            response = respond_to(error)
        await response(scope, receive, send)

    async def submit(self, request: Request) -> Response:
        """Start an execution (SEMANTICS 5.2)."""
        query = request.query_params
        descriptor_id = required(query, "descriptor_id")
        options = read_submission(query)
        body = await read_body(request, self._stack.settings.submit_max_bytes)
        execution_id = await self._stack.submit(
            descriptor_id, body, callback=options.callback, isolation=options.isolation
        )
        return json_response({"execution_id": execution_id})

    async def trigger(self, request: Request) -> Response:
        """Take a callback or a signal (SEMANTICS 5.2, trigger)."""
        limit = self._stack.settings.callback_max_bytes
        callback = read_callback(
            query=request.query_params,
            headers=request.headers,
            body=await read_body(request, limit),
            max_body_bytes=limit,
        )
        return await self._take(callback, trigger=True)

    async def finish(self, request: Request) -> Response:
        """Take an outcome (SEMANTICS 5.2, finish)."""
        limit = self._stack.settings.callback_max_bytes
        callback = read_finish(
            query=request.query_params,
            headers=request.headers,
            body=await read_body(request, limit),
            max_body_bytes=limit,
        )
        return await self._take(callback, trigger=False)

    async def _take(self, callback: Callback, *, trigger: bool) -> Response:
        if trigger and not is_execution_id(callback.execution_id):
            raise RequestError(f"task not exists {callback.execution_id}:{callback.task_name}")
        facts = dict(callback.facts)
        if callback.invoke_id:
            facts["invoke_id"] = callback.invoke_id
        event = CallbackReceived(
            at_ms=self._stack.clock.now_ms(),
            task=callback.task_name,
            succeeded=callback.succeeded,
            output=callback.output,
            msg=callback.message,
            code=callback.code,
            ext=encode_json(facts) if facts else None,
            will_retry=callback.will_retry,
            trigger=trigger,
        )
        reply = await self._stack.deliver(callback.execution_id, event)
        return raw_response(OK if reply.changed else DUPLICATE)

    async def get(self, request: Request) -> Response:
        """Show an execution (SEMANTICS 5.3)."""
        query = request.query_params
        execution_id = required(query, "execution_id")
        brief = query.get("brief", "false").lower() == "true"
        wait_s = _seconds(query.get("wait_s"))
        if not is_execution_id(execution_id):
            return ret_response(UNKNOWN_EXECUTION)
        if wait_s > 0:
            await self._stack.wait(execution_id, wait_s)
        body = await self._stack.query(execution_id, "brief" if brief else "execution")
        return ret_response(UNKNOWN_EXECUTION if body is None else body)


def _seconds(text: str | None) -> float:
    if text is None:
        return 0.0
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 600:
        raise RequestError(f"wait_s must be a number from 0 to 600, not {text}", http_status=422)
    return seconds
