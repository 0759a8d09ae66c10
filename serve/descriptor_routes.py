"""Definitions under ``/flow/bg/manage/descriptor`` (SEMANTICS 5.5)."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from rillflow.actors.stack import Stack
from rillflow.definition import canonical_text, collapse_sugar
from rillflow.errors import DefinitionError, RequestError
from rillflow.runtime.descriptors import resolve_descriptor
from rillflow.runtime.submissions import json_object
from serve.wire import error_body, json_response, read_body

RESTRICTION_VIOLATION = 30110
DESCRIPTOR_MAX_BYTES = 645_120
TEXT = {"requestBody": {"content": {"text/plain": {"schema": {"type": "string"}}}}}
OBJECT = {"requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}}}


def router(stack: Stack) -> APIRouter:
    """Return the routes that add and read definitions."""
    routes = APIRouter(prefix="/flow/bg/manage/descriptor", tags=["definitions"])

    @routes.post("/add_descriptor.json", openapi_extra=TEXT)
    async def add_descriptor(
        request: Request, business_id: str, feature_name: str, alias: str, identity: str = ""
    ) -> Response:
        """Add a definition and make it the newest version of an alias."""
        del identity
        body = await read_body(request, 2 * DESCRIPTOR_MAX_BYTES)
        try:
            text = body.decode()
            added = await stack.add_descriptor(business_id, feature_name, alias, text)
        except (RequestError, DefinitionError, UnicodeDecodeError) as error:
            return error_body(RESTRICTION_VIOLATION, str(error), 400)
        return json_response({"ret": True, "descriptor_id": str(added)})

    @routes.api_route("/get_descriptor.json", methods=["GET", "POST"], openapi_extra=OBJECT)
    async def get_descriptor(request: Request, descriptor_id: str, uid: str = "0") -> Response:
        """Show the text of a definition."""
        data = json_object(await read_body(request, stack.settings.submit_max_bytes))
        number = int(uid) if uid.isdecimal() and len(uid) <= 18 else 0
        found = await resolve_descriptor(stack.store, descriptor_id, uid=number, data=data)
        definition = await stack.definition(found.version or "")
        return json_response(
            {
                "descriptor_id": descriptor_id,
                "uid": uid,
                "descriptor": canonical_text(collapse_sugar(definition)),
            }
        )

    return routes
