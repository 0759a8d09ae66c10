"""Control of executions under ``/flow``, and the description of the hot routes (spec 5.2).

Each endpoint turns a request into an event and delivers it to the owner of the execution. It must
not know in which state the execution is.

Used by `serve/api.py`.
"""

from typing import NamedTuple, TypeAlias

from fastapi import APIRouter
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response

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
from rillflow.gateways.outbound.threads import SHORT_BYTES
from rillflow.jsontypes import encode_json
from rillflow.runtime.stack import Stack
from rillflow.runtime.submission.intake import json_object
from serve.limits.callers import caller_of
from serve.routes.hot import OK, HotRoutes
from serve.schemas.answers import Completed, Done, Refusal, ShownExecution, Submitted
from serve.schemas.documentation import (
    ERRORS,
    OBJECT,
    Extra,
    Responses,
    answer,
    by_reference,
    header,
    text,
)
from serve.schemas.exchange import json_response, raw_response, read_json_text
from serve.schemas.json_bodies import decoded
from serve.schemas.parameters import Flag, Names, OptionalFlag, Scope, failed_only, listed

NO_EXECUTION = 30606
Order: TypeAlias = CancelRequested | PauseRequested | ResumeRequested

_EXECUTION = text("execution_id", "The execution.", required=True)
_TASK = text("task_name", "The task, by its full instance name.", required=True)
_WAIT = text("wait_s", "Wait up to so many seconds for the end, at most 600.")
_REPEATED: Responses = {409: by_reference(Refusal, "The idempotency key was used for other data.")}
_TOO_MANY: Responses = {
    429: by_reference(Refusal, "Too many are waiting; see the header `Retry-After`.")
}
_TOO_LARGE: Responses = {413: by_reference(Refusal, "The callback is larger than the limit.")}


def router(stack: Stack, hot: HotRoutes) -> APIRouter:
    """Return the routes that start, continue and end executions."""
    routes = APIRouter(tags=["run"], responses=ERRORS)
    _document_hot_routes(routes, hot)
    _add_signals(routes, stack)
    _add_manual_actions(routes, stack)
    _add_orders(routes, stack)
    return routes


class _Hot(NamedTuple):
    """What the document says about a route that is served elsewhere."""

    method: str
    path: str
    parameters: list[Extra]
    responses: Responses


def _document_hot_routes(routes: APIRouter, hot: HotRoutes) -> None:
    submit = [
        text("descriptor_id", "business:feature[:alias | :md5_<hex>].", required=True),
        text("callback", "Completion callback: a URL, or a CallbackConfig as JSON."),
        text("resource_check", "Overload check: `{check_type, key_resources}` as JSON."),
        text("isolation", "`dedicated` gives the execution a Ray actor of its own."),
        text("idempotency_key", "The same key and data find the same execution."),
        header("Idempotency-Key", "The same as a header."),
        text("uid", "The caller's, for gray and A/B rules."),
        _WAIT,
        text("brief", "With `wait_s`: `true` leaves the tasks out of what is shown."),
    ]
    outcome = [
        _EXECUTION,
        _TASK,
        text("status", "`success` or `failed`; absent means what the body says."),
        text("context", "JSON object laid over the body."),
    ]
    shown = [_EXECUTION, text("brief", "`true` leaves the tasks out."), _WAIT]
    table = [
        _Hot("POST", "/flow/submit.json", submit, {**answer(Submitted), **_REPEATED, **_TOO_MANY}),
        _Hot("POST", "/flow/finish.json", [_EXECUTION, _TASK], answer(Done)),
        _Hot("GET", "/flow/trigger.json", outcome, {**answer(Done), **_TOO_LARGE, **_TOO_MANY}),
        _Hot("POST", "/flow/trigger.json", outcome, {**answer(Done), **_TOO_LARGE, **_TOO_MANY}),
        _Hot("GET", "/flow/get.json", shown, answer(ShownExecution)),
    ]
    for method, path, parameters, responses in table:
        extra: Extra = {"parameters": parameters}
        if method == "POST":
            extra.update(OBJECT)
        handler = hot.handlers[method, path]
        routes.add_api_route(
            path,
            handler,
            methods=[method],
            openapi_extra=extra,
            operation_id=f"{handler.__name__}_{method.lower()}",
            responses=responses,
        )


def _add_signals(routes: APIRouter, stack: Stack) -> None:
    @routes.post("/flow/wakeup.json", openapi_extra=OBJECT, responses=answer(Done))
    async def wake_up(request: Request, execution_id: str, task_name: str) -> Response:
        """Wake a suspense task up with data; `{}` re-checks its conditions."""
        event = WakeUpReceived(at_ms=stack.clock.now_ms(), task=task_name)
        data = await _data(request, stack, execution_id, event)
        if not task_name.strip():
            raise RequestError("task_name is empty")
        await stack.deliver(execution_id, replace(event, data=data))
        return raw_response(OK)

    @routes.post("/flow/redo.json", openapi_extra=OBJECT, responses=answer(Done))
    async def redo(
        request: Request,
        execution_id: str,
        task_names: Names = None,
        scope: Scope = "whole",
    ) -> Response:
        """Run tasks, and all that follows them, again; no names means all unfinished ones.

        With the scope `failed` names are those of instances, no names means all that failed,
        and what succeeded inside a foreach, choice or sub-flow is kept; a name of what there
        is not, or has not started, is refused.
        """
        event = RedoRequested(
            at_ms=stack.clock.now_ms(),
            tasks=listed(task_names),
            failed_only=failed_only(scope),
            exact=True,
            by=caller_of(request.scope).name,
        )
        data = await _data(request, stack, execution_id, event)
        if not execution_id.strip():
            raise ExecutionError("redo executionId can not be empty", NO_EXECUTION)
        await stack.deliver(execution_id, replace(event, data=data))
        return raw_response(OK)


async def _data(request: Request, stack: Stack, execution_id: str, event: Event) -> bytes:
    """Read the body of an event; a large one only for an execution that exists."""
    body = await read_json_text(request)
    if len(body) > SHORT_BYTES and execution_id.strip():
        await stack.require_known(execution_id, event)
    return await decoded(request, body, lambda text: encode_json(json_object(text)))


def _add_manual_actions(routes: APIRouter, stack: Stack) -> None:
    @routes.post("/flow/task_degrade.json", responses=answer(Done))
    async def task_degrade(
        request: Request,
        execution_id: str,
        task_name: str,
        degrade_current_task: Flag,
        degrade_following_tasks: Flag,
    ) -> Response:
        """Have a task that has not started, or what follows it, skipped."""
        event = DegradeRequested(
            at_ms=stack.clock.now_ms(),
            task=task_name,
            current=degrade_current_task,
            followings=degrade_following_tasks,
            by=caller_of(request.scope).name,
        )
        await stack.deliver(execution_id, event)
        return raw_response(OK)

    @routes.post("/flow/complete.json", responses=answer(Completed))
    async def complete(
        request: Request,
        execution_id: str,
        success: OptionalFlag = True,  # noqa: FBT002 - a query parameter
    ) -> Response:
        """End an execution by hand; no notice is sent."""
        by = caller_of(request.scope).name
        event = CompletionRequested(at_ms=stack.clock.now_ms(), success=success, by=by)
        try:
            if not execution_id.strip():
                raise ExecutionError("executionId or status is blank")
            await stack.deliver(execution_id, event)
        except RillflowError as error:
            return json_response({"code": "-1", "message": str(error)})
        return json_response({"code": "0", "message": "success"})


def _add_orders(routes: APIRouter, stack: Stack) -> None:
    @routes.post("/flow/cancel.json", responses=answer(Done))
    async def cancel(request: Request, execution_id: str) -> Response:
        """Stop an execution and its sub-flows; nothing more is dispatched."""
        return await ordered(CancelRequested, request, execution_id)

    @routes.post("/flow/pause.json", responses=answer(Done))
    async def pause(request: Request, execution_id: str) -> Response:
        """Start no further task until resumed."""
        return await ordered(PauseRequested, request, execution_id)

    @routes.post("/flow/resume.json", responses=answer(Done))
    async def resume(request: Request, execution_id: str) -> Response:
        """Go on after a pause."""
        return await ordered(ResumeRequested, request, execution_id)

    async def ordered(order: type[Order], request: Request, execution_id: str) -> Response:
        event = order(at_ms=stack.clock.now_ms(), by=caller_of(request.scope).name)
        await stack.deliver(execution_id, event)
        return raw_response(OK)
