"""Reads parameters from a posted form, and adds them to the query.

Rill Flow reads both alike, on the routes whose POST has no other body; the table of routes names
them. ``api.py`` adds this middleware before the routes, or before the signatures, which cover the
parameters of a form too. It must not know what the parameters mean.

Used by `serve/api.py`.
"""

from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from rillflow.errors import RillflowError
from serve.route_table import FORM, paths_where
from serve.schemas.errors import respond_to
from serve.schemas.exchange import (
    MOST_FIELDS,
    is_form,
    nul_refused,
    read_body,
    too_many_fields,
)

WITH_FORM: Final = paths_where(lambda route: route.body is FORM)


class FormParameters:
    """ASGI middleware that moves posted parameters into the query."""

    def __init__(self, inside: ASGIApp) -> None:
        self._inside = inside

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] == "http" and scope["path"] in WITH_FORM and is_form(scope):
            try:
                form = await read_body(Request(scope, receive))
                if b"%00" in form or b"\0" in form:
                    raise nul_refused()
                if form.count(b"&") >= MOST_FIELDS:
                    raise too_many_fields()
            except RillflowError as error:
                await respond_to(error)(scope, receive, send)
                return
            parts = (scope["query_string"], form.strip())
            scope = {**scope, "query_string": b"&".join(filter(None, parts))}
        await self._inside(scope, receive, send)
