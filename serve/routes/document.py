"""The OpenAPI document, with what the table of routes says about access and bodies.

FastAPI describes parameters and answers from the endpoints; this module adds the credentials
that each operation needs, and how large its body may be. ``api.py`` calls it. It must not know
what an endpoint does.

Used by `serve/api.py`.
"""

import asyncio
from functools import partial
from typing import Final

from fastapi import FastAPI
from starlette.responses import Response

from rillflow.gateways.outbound.threads import in_thread
from rillflow.jsontypes import encode_json
from rillflow.settings import Settings
from serve.route_table import BY_PATH, Access, Body
from serve.schemas.documentation import answer_schemas
from serve.schemas.exchange import raw_response

SCHEMES: Final = {
    "api_key": {"type": "apiKey", "in": "header", "name": "X-Rillflow-Api-Key"},
    "bearer": {"type": "http", "scheme": "bearer", "description": "The API key."},
    "signature": {"type": "apiKey", "in": "query", "name": "sign", "description": "With `ts`."},
}
"""Credentials in the form of OpenAPI; which of them are needed, the settings say."""


def add_document(api: FastAPI, settings: Settings) -> None:
    """Add the endpoint that serves the document of a server with these settings."""
    one_at_a_time = asyncio.Lock()
    text = b""

    @api.get("/openapi.json", include_in_schema=False)
    async def document() -> Response:
        """Describe the API."""
        nonlocal text
        if not text:
            # That takes longer than a turn of the event loop may.
            async with one_at_a_time:
                make = partial(_text_of, api, settings)
                text = text or await in_thread(make, workspace="")
        return raw_response(text)


def _text_of(api: FastAPI, settings: Settings) -> bytes:
    document = api.openapi()
    document["components"] = {"schemas": answer_schemas(), "securitySchemes": SCHEMES}
    credentials = _credentials(settings)
    for path, operations in document["paths"].items():
        route = BY_PATH[path]
        for operation in operations.values():
            operation["security"] = credentials if route.access is Access.KEY else []
            if "requestBody" in operation:
                operation["requestBody"]["description"] = _bound(route.body)
    return encode_json(document)


def _credentials(settings: Settings) -> list[dict[str, list[str]]]:
    """Return the alternatives that a caller has, each with all the credentials that it takes."""
    signed: dict[str, list[str]] = (
        {"signature": []} if settings.switch("ENABLE_AUTH_RESOLVER") else {}
    )
    if settings.api_key is None:
        return [signed]
    return [{"api_key": []} | signed, {"bearer": []} | signed]


def _bound(body: Body) -> str:
    if not body.setting:
        return f"{body.meaning} At most {body.largest_bytes} bytes."
    by_business = f" or `{body.setting}_by_business`" if body.business_in else ""
    return (
        f"{body.meaning} At most as many bytes as the setting `{body.setting}`{by_business} says."
    )
