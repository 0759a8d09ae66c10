"""Run control under ``/flow`` (SEMANTICS 5.2)."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from rillflow.actors.stack import Stack
from rillflow.core.events import (
    CancelRequested,
    CompletionRequested,
    DegradeRequested,
    Event,
    PauseRequested,
    RedoRequested,
    ResumeRequested,
    WakeUpReceived,
)
from rillflow.errors import ExecutionError, RequestError, RillflowError
from rillflow.jsontypes import encode_json
from rillflow.runtime.submissions import json_object
from serve.hot_routes import OK, HotRoutes
from serve.wire import json_response, raw_response, read_body

NO_EXECUTION = 30606


def _text(name: str, description: str, *, required: bool = False) -> dict[str, Any]:
    return {
        "name": name,
        "in": "query",
        "required": required,
        "description": description,
        "schema": {"type": "string"},
    }


_EXECUTION = _text("execution_id", "The execution.", required=True)
_TASK = _text("task_name", "The task, by its full instance name.", required=True)
_BODY: dict[str, Any] = {"content": {"application/json": {"schema": {"type": "object"}}}}


def router(stack: Stack, hot: HotRoutes) -> APIRouter:
    """Return the routes that start, continue and end executions."""
    routes = APIRouter(tags=["run"])
    _document_hot_routes(routes, hot)
    _add_signals(routes, stack)
    _add_manual_actions(routes, stack)
    _add_orders(routes, stack)
    return routes


def _document_hot_routes(routes: APIRouter, hot: HotRoutes) -> None:
    submit = [
        _text("descriptor_id", "business:feature[:alias | :md5_<hex>].", required=True),
        _text("callback", "Completion callback: a URL, or a CallbackConfig as JSON."),
        _text("resource_check", "Overload check of this submission, as JSON."),
        _text("isolation", "dedicated gives the execution a Ray actor of its own."),
    ]
    outcome = [
        _EXECUTION,
        _TASK,
        _text("status", "success or failed; absent means what the body says."),
        _text("context", "JSON object laid over the body."),
    ]
    table: list[tuple[str, str, list[dict[str, Any]]]] = [
        ("POST", "/flow/submit.json", submit),
        ("POST", "/flow/finish.json", [_EXECUTION, _TASK]),
        ("GET", "/flow/trigger.json", outcome),
        ("POST", "/flow/trigger.json", outcome),
        (
            "GET",
            "/flow/get.json",
            [
                _EXECUTION,
                _text("brief", "true leaves the tasks out."),
                _text("wait_s", "Wait up to so many seconds for the end."),
            ],
        ),
    ]
    for method, path, parameters in table:
        extra: dict[str, Any] = {"parameters": parameters}
        if method == "POST":
            extra["requestBody"] = _BODY
        handler = hot.handlers[method, path]
        routes.add_api_route(
            path,
            handler,
            methods=[method],
            openapi_extra=extra,
            operation_id=f"{handler.__name__}_{method.lower()}",
        )


def _add_signals(routes: APIRouter, stack: Stack) -> None:
    @routes.post("/flow/wakeup.json", openapi_extra={"requestBody": _BODY})
    async def wake_up(request: Request, execution_id: str, task_name: str) -> Response:
        """Wake a suspense task up with data; ``{}`` re-checks its conditions."""
        data = await _data(request, stack)
        if not task_name.strip():
            raise RequestError("task_name is empty")
        await stack.deliver(
            execution_id,
            WakeUpReceived(at_ms=stack.clock.now_ms(), task=task_name, data=data),
        )
        return raw_response(OK)

    @routes.post("/flow/redo.json", openapi_extra={"requestBody": _BODY})
    async def redo(
        request: Request,
        execution_id: str,
        task_names: Annotated[list[str] | None, Query()] = None,
    ) -> Response:
        """Run tasks, and all that follows them, again; no names means all unfinished ones."""
        data = await _data(request, stack)
        if not execution_id.strip():
            raise ExecutionError("redo executionId can not be empty", NO_EXECUTION)
        names = [name for text in task_names or () for name in text.split(",")]
        event = RedoRequested(
            at_ms=stack.clock.now_ms(),
            tasks=tuple(name.strip() for name in names if name.strip()),
            data=data,
        )
        await stack.deliver(execution_id, event)
        return raw_response(OK)


async def _data(request: Request, stack: Stack) -> bytes:
    body = await read_body(request, stack.settings.callback_max_bytes)
    return encode_json(json_object(body))


def _add_manual_actions(routes: APIRouter, stack: Stack) -> None:
    @routes.post("/flow/task_degrade.json")
    async def task_degrade(
        execution_id: str,
        task_name: str,
        degrade_current_task: bool,  # noqa: FBT001 - a query parameter
        degrade_following_tasks: bool,  # noqa: FBT001 - a query parameter
    ) -> Response:
        """Have a task that has not started, or what follows it, skipped."""
        event = DegradeRequested(
            at_ms=stack.clock.now_ms(),
            task=task_name,
            current=degrade_current_task,
            followings=degrade_following_tasks,
        )
        await stack.deliver(execution_id, event)
        return raw_response(OK)

    @routes.post("/flow/complete.json")
    async def complete(
        execution_id: str,
        success: bool = True,  # noqa: FBT001, FBT002 - a query parameter
    ) -> Response:
        """End an execution by hand; nobody is told."""
        event = CompletionRequested(at_ms=stack.clock.now_ms(), success=success)
        try:
            if not execution_id.strip():
                raise ExecutionError("executionId or status is blank")
            await stack.deliver(execution_id, event)
        except RillflowError as error:
            return json_response({"code": "-1", "message": str(error)})
        return json_response({"code": "0", "message": "success"})


def _add_orders(routes: APIRouter, stack: Stack) -> None:
    @routes.post("/flow/cancel.json")
    async def cancel(execution_id: str) -> Response:
        """Stop an execution and its sub-flows; nothing more is dispatched."""
        return await ordered(CancelRequested(at_ms=stack.clock.now_ms()), execution_id)

    @routes.post("/flow/pause.json")
    async def pause(execution_id: str) -> Response:
        """Start no further task until resumed."""
        return await ordered(PauseRequested(at_ms=stack.clock.now_ms()), execution_id)

    @routes.post("/flow/resume.json")
    async def resume(execution_id: str) -> Response:
        """Go on after a pause."""
        return await ordered(ResumeRequested(at_ms=stack.clock.now_ms()), execution_id)

    async def ordered(event: Event, execution_id: str) -> Response:
        await stack.deliver(execution_id, event)
        return raw_response(OK)
