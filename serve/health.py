"""Whether the stack lives, and whether it can take requests."""

import logging
from typing import Final

from fastapi import APIRouter
from starlette.responses import RedirectResponse, Response

from rillflow.actors.stack import Stack
from rillflow.errors import StoreError
from serve.answers import Alive
from serve.docs_page import docs_page
from serve.documentation import ERRORS, answer
from serve.wire import json_response

log = logging.getLogger("rillflow.health")

NOT_READY: Final = "the store does not answer; the log of the server says why"


def router(stack: Stack) -> APIRouter:
    """Return the health routes."""
    routes = APIRouter(tags=["health"], responses=ERRORS)

    @routes.get("/healthz")
    async def healthz() -> Response:
        """Tell that this replica lives."""
        return json_response({"status": "ok"})

    @routes.get("/readyz")
    async def readyz() -> Response:
        """Tell that the store answers.

        Anybody may ask, so the reason why it does not is for the log only.
        """
        try:
            await stack.store.businesses()
        except StoreError as error:
            log.warning("not_ready", extra={"reason": str(error)})
            raise StoreError(NOT_READY) from error
        return json_response({"status": "ready"})

    @routes.get("/flow/service_check.json", responses=answer(Alive))
    async def service_check() -> Response:
        """Answer as Rill Flow's own check does."""
        return json_response({"ret": "ok"})

    @routes.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        """Show the description of the API."""
        return docs_page()

    @routes.get("/swagger-ui.html", include_in_schema=False)
    async def swagger_ui() -> Response:
        """Lead to the documentation from where Rill Flow has its own."""
        return RedirectResponse("/docs")

    return routes
