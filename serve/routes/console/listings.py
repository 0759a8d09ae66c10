"""The lists of the web console below ``/flow/bg``: definitions, executions, users (spec 5.6).

Answers have the console's envelope and field names.

Used by `serve/api.py`.
"""

from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from rillflow.core.status import DagStatus
from rillflow.errors import (
    DefinitionError,
    InvalidIdError,
    RequestError,
    UnknownDescriptorError,
)
from rillflow.gateways.outbound.threads import computed
from rillflow.ids import (
    DescriptorId,
    is_execution_id,
    service_of,
    submitted_at_ms,
    workspace_of,
)
from rillflow.jsontypes import decode_json, encode_json
from rillflow.ports.storage.aliases import AliasRow
from rillflow.ports.storage.store import ExecutionFilter
from rillflow.runtime.definitions.catalogue import resolve_descriptor
from rillflow.runtime.stack import Stack
from serve.limits.callers import caller_of, own_workspace, sender_of
from serve.routes.console.definition_graphs import definition_graph
from serve.routes.console.shown_definitions import shown_definition
from serve.routes.hot import UNKNOWN_EXECUTION
from serve.schemas.answers import Envelope
from serve.schemas.console_answers import (
    BusinessOptions,
    DescriptorPage,
    ExecutionEnvelope,
    ExecutionPage,
    User,
)
from serve.schemas.documentation import ERRORS, OBJECT, answer
from serve.schemas.exchange import (
    ENTRY_BYTES,
    data_response,
    json_response,
    long_response,
    read_body,
)
from serve.schemas.parameters import Milliseconds, RequiredWhole, Whole
from serve.schemas.search_texts import keys_of

MOST_ON_PAGE: Final = 1000
MOST_SKIPPED: Final = 1 << 40
ADMIN: Final = {
    "realName": "admin",
    "roles": [{"roleName": "Super Admin", "value": "super"}],
    "userId": "1",
    "username": "admin",
    "token": "fakeToken1",
    "desc": "manager",
}
CURRENT_USER: Final = {
    **ADMIN,
    "password": "123456",
    "homePath": "/flow-definition/list",
    "avatar": "",
}
STATUS_NAMES: Final = frozenset(status.name.lower() for status in DagStatus)


def router(stack: Stack) -> APIRouter:
    """Return the console's routes."""
    routes = APIRouter(prefix="/flow/bg", tags=["console"], responses=ERRORS)
    _add_definitions(routes, stack)
    _add_executions(routes, stack)
    _add_users(routes)
    return routes


def _add_definitions(routes: APIRouter, stack: Stack) -> None:
    @routes.get("/get_descriptor.json", responses=answer(Envelope))
    async def get_descriptor(request: Request, id: str) -> Response:  # noqa: A002 - its name
        """Show a definition as a graph: tasks by name, each with its successors."""
        try:
            found = await resolve_descriptor(stack.store, id)
            graph = await shown_definition(stack, found.version or "", request, definition_graph)
        except (InvalidIdError, UnknownDescriptorError, DefinitionError) as error:
            raise RequestError(f"descriptor is null: {id}") from error
        alias = found.alias or await _alias_of(stack, found)
        return await data_response(encode_json({**graph, "alias": alias}), workspace=found.business)

    @routes.get("/get_descriptor_ids.json", responses=answer(DescriptorPage))
    async def get_descriptor_ids(  # noqa: PLR0913, PLR0917 - the parameters of the endpoint
        request: Request,
        current: RequiredWhole,
        page_size: Annotated[RequiredWhole, Query(alias="pageSize")],
        page: Annotated[
            Whole | None, Query(description="Wins over `current`, which the console leaves at 1.")
        ] = None,
        business: str = "",
        feature: str = "",
    ) -> Response:
        """List the registered aliases, the youngest first; `total` counts all that match."""
        size = min(max(page_size, 1), MOST_ON_PAGE)
        first = (max(current if page is None else page, 1) - 1) * size
        rows, total = await stack.searches.youngest_aliases(
            own_workspace(caller_of(request.scope), business.strip() or None) or "",
            feature.strip(),
            limit=size,
            offset=min(first, MOST_SKIPPED),
        )
        sender = sender_of(request.scope)
        shown = {"items": list(map(_item_of, rows)), "total": total}
        return await long_response(shown, 3 * ENTRY_BYTES * len(rows), workspace=sender)

    @routes.get("/get_business_options.json", responses=answer(BusinessOptions))
    async def get_business_options(request: Request) -> Response:
        """List the businesses to choose from."""
        names = filter(caller_of(request.scope).sees, await stack.store.businesses())
        options = [{"id": name, "name": name} for name in names]
        size, sender = ENTRY_BYTES * len(options), sender_of(request.scope)
        return await long_response({"business_ids": options}, size, workspace=sender)


def _item_of(row: AliasRow) -> dict[str, object]:
    return {
        "business_id": row.business,
        "feature_id": row.feature,
        "alias": row.alias,
        "descriptor_id": ":".join(row.name),
        "create_time": row.created_at_ms,
        "update_time": row.updated_at_ms,
    }


async def _alias_of(stack: Stack, found: DescriptorId) -> str:
    """Return the first alias that lists a version, empty if none does any more."""
    version = found.version or ""
    alias = await stack.store.alias_with_version(found.business, found.feature, version)
    return alias or ""


def _add_executions(routes: APIRouter, stack: Stack) -> None:
    @routes.get("/get_execution_ids.json", responses=answer(ExecutionPage))
    async def get_execution_ids(  # noqa: PLR0913, PLR0917 - the parameters of the endpoint
        request: Request,
        id: str = "",  # noqa: A002 - the parameter's name
        execution_id: Annotated[str, Query(description="The console's other name for `id`.")] = "",
        business: str = "",
        feature: str = "",
        status: str = "",
        code: str = "",
        start_ms: Annotated[Milliseconds, Query(alias="startTime")] = 0,
        end_ms: Annotated[Milliseconds | None, Query(alias="endTime")] = None,
        page: Whole = 1,
        page_size: Annotated[Whole, Query(alias="pageSize")] = 20,
        context: Annotated[str, Query(description="Values of search keys, as a JSON object.")] = "",
    ) -> Response:
        """List executions, newest first, or just the one of an id."""
        one = id.strip() or execution_id.strip()
        if one:
            return json_response(await _one(stack, one))
        known = status.strip().lower() in STATUS_NAMES
        wanted = ExecutionFilter(
            business=own_workspace(caller_of(request.scope), business.strip() or None),
            feature=feature.strip() or None,
            statuses=(status.strip().lower(),) if known else None,
            code=code.strip() or None,
            from_ms=start_ms,
            to_ms=stack.clock.now_ms() if end_ms is None else end_ms,
            keys=keys_of(context),
        )
        return json_response(await _page(stack, wanted, page, page_size))

    @routes.get("/get_execution.json", responses=answer(ExecutionEnvelope))
    async def get_execution(id: str) -> Response:  # noqa: A002 - the parameter's name
        """Show an execution."""
        body = await stack.query(id, "execution") if is_execution_id(id) else None
        workspace = workspace_of(id)
        parts = await _with_trace(stack, body or UNKNOWN_EXECUTION, workspace)
        return await data_response(*parts, workspace=workspace)


async def _one(stack: Stack, execution_id: str) -> dict[str, Any]:
    body = await stack.query(execution_id, "status") if is_execution_id(execution_id) else None
    status = decode_json(body) if body else None
    if not isinstance(status, dict):
        return {"total": 0, "items": []}
    business, feature = service_of(execution_id)
    item = _item(
        execution_id, submitted_at_ms(execution_id), business, feature, str(status["dag_status"])
    )
    return {"items": [item], "total": 1}


async def _page(stack: Stack, wanted: ExecutionFilter, page: int, size: int) -> dict[str, Any]:
    size = min(max(size, 1), MOST_ON_PAGE)
    found = await stack.searches.list_executions(
        wanted, limit=size, offset=(max(page, 1) - 1) * size
    )
    counts = await stack.searches.count_executions(wanted)
    items = [
        _item(each.execution_id, each.submitted_at_ms, each.business, each.feature, each.status)
        for each in found
    ]
    return {"items": items, "total": sum(counts.values())}


def _item(
    execution_id: str, submit_time: int, business: str, feature: str, status: str
) -> dict[str, Any]:
    return {
        "id": execution_id,
        "execution_id": execution_id,
        "submit_time": submit_time,
        "business_id": business,
        "feature_id": feature,
        "status": status.upper(),
    }


class _TracedContext(msgspec.Struct):
    traceId: Any = None  # noqa: N815 - the key in contexts


class _Traced(msgspec.Struct):
    """The part of a shown execution that contains its trace id."""

    context: _TracedContext = msgspec.field(default_factory=_TracedContext)


_traced_decoder = msgspec.json.Decoder(_Traced)


async def _with_trace(stack: Stack, body: bytes, workspace: str) -> tuple[memoryview, bytes]:
    """Add the address of the execution's trace, empty if no traces are kept.

    Returns:
        The parts of the JSON text; the first one is as large as the execution.

    The field is always present: the console calls ``startsWith`` on it.
    """
    host = stack.settings.trace_query_host
    trace_id = ""
    if host:
        trace_id = await computed(len(body), lambda: _trace_id(body), workspace=workspace)
    address = f"{host.rstrip('/')}/trace/{trace_id}" if host else ""
    return memoryview(body)[:-1], b',"trace_url":%b}' % encode_json(address)


def _trace_id(body: bytes) -> str:
    """Return the trace id of a shown execution, ``null`` if it has none."""
    if b'"traceId"' not in body:
        return "null"
    found = _traced_decoder.decode(body).context.traceId
    return "null" if found is None else str(found)


def _add_users(routes: APIRouter) -> None:
    @routes.post(
        "/user/login.json",
        openapi_extra=OBJECT,
        responses=answer(User),
    )
    async def login(request: Request) -> Response:
        """Log in; there is one user, and any password will do."""
        await read_body(request)
        return json_response(ADMIN)

    @routes.get("/user/currentUser.json", responses=answer(User))
    async def current_user() -> Response:
        """Show the one user."""
        return json_response(CURRENT_USER)
