"""Endpoints of Rill Flow that have no function here: raw records and customized storage (spec 5.3).

They answer as in a Rill Flow that is not set up for them.

Used by `serve/api.py`.
"""

from collections.abc import Awaitable, Callable
from itertools import product
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from rillflow.errors import RequestError
from rillflow.ids import is_execution_id, workspace_of
from rillflow.runtime.stack import Stack
from serve.schemas.answers import Envelope
from serve.schemas.documentation import ERRORS, OBJECT, Extra, answer, text
from serve.schemas.exchange import data_response, read_body

NOT_CONFIGURED: Final = 30110
STORAGE: Final = ("init_bucket", "store", "load", "remove_bucket", "remove_element")
NAMES: Final = ("execution_id", "business_id", "bucket_name")
# Described, and not declared: reading 40 signatures took a third of the start of the API.
PARAMETERS: Final[Extra] = {
    "parameters": [text(name, "A name; none is looked up.") for name in NAMES]
}


def router(stack: Stack) -> APIRouter:
    """Return the routes of raw records and of customized storage, which has no store."""
    routes = APIRouter(prefix="/flow", tags=["legacy"], responses=ERRORS)

    @routes.get("/dag/details.json", responses=answer(Envelope))
    async def dag_details(id: str, status: str) -> Response:  # noqa: A002 - the parameter's name
        """Show the record of an execution."""
        del status
        body = await stack.query(id, "execution") if is_execution_id(id) else None
        return await data_response(body or b"{}", workspace=workspace_of(id))

    for name, method in product(STORAGE, ("GET", "POST")):
        routes.add_api_route(
            f"/customized/storage/{name}.json",
            _storage(name),
            methods=[method],
            name=name,
            openapi_extra=PARAMETERS | OBJECT if method == "POST" else PARAMETERS,
            description="No storage client is configured, so the request is always refused.",
        )
    return routes


def _storage(name: str) -> Callable[[Request], Awaitable[Response]]:
    async def refuse(request: Request) -> Response:
        await read_body(request)
        execution, business, bucket = (request.query_params.get(each, "").strip() for each in NAMES)
        if name == "init_bucket":
            if not (execution or business):
                raise RequestError("id can not be empty")
        elif not (execution or bucket):
            raise RequestError("execution_id and bucket_name can not be all empty")
        raise RequestError("client not configured", wire_code=NOT_CONFIGURED)

    return refuse
