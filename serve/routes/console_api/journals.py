"""The journal of one execution: its events with their effects, and its timeline.

Used by `serve/api.py`.
"""

from typing import Final, Literal

from fastapi import APIRouter
from starlette.responses import Response

from rillflow.errors import RequestError
from rillflow.runtime.stack import Stack
from serve.routes.console_api.inspecting import Event, last_event, missing
from serve.schemas.documentation import ERRORS, NOT_FOUND
from serve.schemas.exchange import json_response, raw_response
from serve.schemas.parameters import RequiredWhole, Whole

MOST_EVENTS: Final = 500
MOST_ROWS: Final = 1_000
MOST_WRITES: Final = 200


def router(stack: Stack) -> APIRouter:
    """Return the routes that show the journal of an execution."""
    routes = APIRouter(prefix="/flow/console/v1", tags=["console"], responses=ERRORS | NOT_FOUND)
    _add_events(routes, stack)
    _add_timeline(routes, stack)
    return routes


def _add_events(routes: APIRouter, stack: Stack) -> None:
    @routes.get("/events.json", responses={200: {"description": "A page of the journal."}})
    async def events(  # noqa: PLR0913, PLR0917 - the parameters of the endpoint
        execution_id: str,
        order: Literal["asc", "desc"] = "asc",
        kind: str = "",
        task: str = "",
        limit: Whole = 100,
        cursor: str = "",
    ) -> Response:
        """List the events of an execution, each with what it changed."""
        return json_response(
            await stack.histories.events(
                execution_id,
                await last_event(stack, execution_id),
                cursor=_cursor(cursor),
                limit=min(max(limit, 1), MOST_EVENTS),
                is_newest_first=order == "desc",
                kind=kind,
                task=task,
            )
        )

    @routes.get("/event.json", responses={200: {"description": "One event."}})
    async def event(execution_id: str, seq: RequiredWhole) -> Response:
        """Show one event of the journal with its data."""
        await last_event(stack, execution_id)
        return json_response(await stack.histories.event(execution_id, seq))

    @routes.get("/changes.json", responses={200: {"description": "Changes of contexts."}})
    async def changes(execution_id: str, seq: RequiredWhole) -> Response:
        """Show what one event changed in contexts."""
        await last_event(stack, execution_id)
        return json_response(await stack.histories.changes(execution_id, seq))

    @routes.get("/writes.json", responses={200: {"description": "Writes of tasks."}})
    async def writes(
        execution_id: str, event: Event = None, limit: Whole = 50, cursor: str = ""
    ) -> Response:
        """Show what each task wrote into contexts, in the order in which it was written."""
        last_seq = await last_event(stack, execution_id)
        return json_response(
            await stack.histories.writes(
                execution_id,
                last_seq if event is None else min(event, last_seq),
                cursor=_cursor(cursor),
                limit=min(max(limit, 1), MOST_WRITES),
            )
        )


def _add_timeline(routes: APIRouter, stack: Stack) -> None:
    @routes.get("/timeline.json", responses={200: {"description": "Segments of time."}})
    async def timeline(
        execution_id: str,
        route: str = "",
        event: Event = None,
        offset: Whole = 0,
        limit: Whole = 200,
    ) -> Response:
        """Show what the tasks of one level did when."""
        body = await stack.histories.timeline(
            execution_id,
            await last_event(stack, execution_id),
            route=route,
            offset=max(offset, 0),
            limit=min(max(limit, 1), MOST_ROWS),
            seq=event,
        )
        if body is None:
            raise missing(execution_id, {"route": route})
        return raw_response(body)


def _cursor(text: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise RequestError(f"cursor is malformed: {text[:100]}", hint="it is an earlier next")
    return int(text)
