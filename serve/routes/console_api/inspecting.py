"""One execution: header, graph, groups, tasks, context, and why it waits.

Used by `serve/api.py` and `serve/routes/console_api`.
"""

from typing import Annotated, Final, TypeAlias

from fastapi import APIRouter, Query
from starlette.responses import Response

from rillflow.core.inspection.views import SUMMARY
from rillflow.errors import RequestError, UnknownExecutionError
from rillflow.ids import is_execution_id
from rillflow.jsontypes import decode_json
from rillflow.runtime.stack import Stack
from serve.routes.console_api.held_calls import with_held_calls
from serve.routes.console_api.origins import with_origin
from serve.schemas.documentation import ERRORS, NOT_FOUND
from serve.schemas.exchange import raw_response
from serve.schemas.parameters import Whole

_NO_SUCH: Final = 404
_CONFLICT: Final = 409
Event: TypeAlias = Annotated[
    Whole | None, Query(description="As it was after this event of the journal.")
]
MOST_NODES: Final = 1_000
MOST_ITEMS: Final = 500


def router(stack: Stack) -> APIRouter:
    """Return the routes that show one execution."""
    routes = APIRouter(prefix="/flow/console/v1", tags=["console"], responses=ERRORS | NOT_FOUND)
    _add_execution(routes, stack)
    _add_tasks(routes, stack)
    _add_values(routes, stack)
    return routes


def _add_execution(routes: APIRouter, stack: Stack) -> None:
    @routes.get("/execution.json", responses={200: {"description": "The header."}})
    async def execution(execution_id: str, event: Event = None) -> Response:
        """Show an execution without its tasks."""
        found = await shown(stack, execution_id, "header", event)
        return raw_response(await with_origin(stack, execution_id, bytes(found.body)))

    @routes.get("/waits.json", responses={200: {"description": "Reasons, as sentences."}})
    async def waits(
        execution_id: str,
        task: str = "",
        event: Event = None,
        offset: Whole = 0,
        limit: Whole = 100,
    ) -> Response:
        """Show for what everything that has not ended waits."""
        page = _page(offset, limit, MOST_ITEMS)
        found = await shown(stack, execution_id, "waits", event, task=task, **page)
        if event is not None:
            return found
        now_ms = stack.clock.now_ms()
        body = await with_held_calls(stack, execution_id, bytes(found.body), now_ms)
        return raw_response(body)

    @routes.get("/trace.json", responses={200: {"description": "Spans."}})
    async def trace(execution_id: str, event: Event = None) -> Response:
        """Show what an execution did when, as spans, since its submission or last redo."""
        return await shown(stack, execution_id, "trace", event)


def _add_tasks(routes: APIRouter, stack: Stack) -> None:
    @routes.get("/graph.json", responses={200: {"description": "Nodes and edges."}})
    async def graph(
        execution_id: str,
        route: str = "",
        event: Event = None,
        offset: Whole = 0,
        limit: Whole = MOST_NODES,
    ) -> Response:
        """Show the tasks of one level with what follows what."""
        return await shown(
            stack, execution_id, "level", event, route=route, **_page(offset, limit, MOST_NODES)
        )

    @routes.get("/items.json", responses={200: {"description": "Iterations or branches."}})
    async def items(  # noqa: PLR0913, PLR0917 - the parameters of the endpoint
        execution_id: str,
        task: str,
        status: str = "",
        event: Event = None,
        offset: Whole = 0,
        limit: Whole = 100,
    ) -> Response:
        """Show the groups of a foreach or choice in the order of their indexes."""
        page = _page(offset, limit, MOST_ITEMS)
        return await shown(stack, execution_id, "items", event, task=task, status=status, **page)

    @routes.get("/task.json", responses={200: {"description": "One task instance."}})
    async def task_instance(execution_id: str, task: str, event: Event = None) -> Response:
        """Show one task instance: its input, output and attempts."""
        return await shown(stack, execution_id, "instance", event, task=task)


def _add_values(routes: APIRouter, stack: Stack) -> None:
    @routes.get("/context.json", responses={200: {"description": "A part of a context."}})
    async def context(
        execution_id: str,
        route: str = "",
        path: str = "",
        event: Event = None,
        offset: Whole = 0,
    ) -> Response:
        """Show the context of the execution, or of a group, or a part of it."""
        asked = {"route": route, "path": path, "offset": str(max(offset, 0))}
        return await shown(stack, execution_id, "context_part", event, **asked)


async def shown(
    stack: Stack, execution_id: str, kind: str, event: int | None, **asked: str
) -> Response:
    """Answer with a view of an execution, as it is or as it was after an event.

    Raises:
        RequestError: There is no such execution, or nothing that the parameters name (404).
    """
    require_id(execution_id)
    if event is None:
        body = await stack.inspect(execution_id, kind, **asked)
    else:
        await last_event(stack, execution_id)
        body = await stack.histories.view(execution_id, event, kind, asked)
    if body is not None:
        return raw_response(body)
    if await stack.inspect(execution_id, SUMMARY) is None:
        raise unknown(execution_id)
    raise missing(execution_id, asked)


async def last_event(stack: Stack, execution_id: str) -> int:
    """Return the number of the last event of an execution whose journal may be replayed.

    Raises:
        UnknownExecutionError: There is no such execution (404).
        RequestError: It is in quarantine, since handling it fails (409).
    """
    require_id(execution_id)
    body = await stack.inspect(execution_id, SUMMARY)
    summary = decode_json(body) if body else None
    if not isinstance(summary, dict):
        raise unknown(execution_id)
    if summary.get("quarantine"):
        raise RequestError(
            f"{execution_id} is in quarantine, and its journal is not replayed",
            http_status=_CONFLICT,
        )
    seq = summary["seq"]
    return seq if isinstance(seq, int) else 0


def require_id(execution_id: str) -> None:
    """Refuse what cannot be the id of an execution, as one that is unknown.

    Raises:
        UnknownExecutionError: It is not of that form (404).
    """
    if not is_execution_id(execution_id):
        raise unknown(execution_id)


def unknown(execution_id: str) -> UnknownExecutionError:
    """Return the refusal for an unknown execution."""
    return UnknownExecutionError(
        f"there is no execution {execution_id[:200]}", http_status=_NO_SUCH
    )


def missing(execution_id: str, asked: dict[str, str]) -> RequestError:
    """Return the refusal for something that an execution does not have."""
    named = ", ".join(
        f"{name} {value[:200]}"
        for name, value in asked.items()
        if value and name in {"task", "route", "path", "event", "seq"}
    )
    return RequestError(f"{execution_id} has no {named}", http_status=_NO_SUCH)


def _page(offset: int, limit: int, most: int) -> dict[str, str]:
    return {"offset": str(max(offset, 0)), "limit": str(min(max(limit, 1), most))}
