"""Health checks, and the page of the API.

Readiness is measured in the background by ``stack.readiness``, so a check costs nothing and may be
repeated as often as a load balancer likes.

Used by `serve/api.py`.
"""

from collections.abc import Sequence

from fastapi import APIRouter
from starlette.responses import RedirectResponse, Response

from rillflow.errors import StoreError
from rillflow.ports.readiness import Reason
from rillflow.runtime.stack import Stack
from serve.routes.docs_page import docs_page
from serve.schemas.answers import Alive
from serve.schemas.documentation import ERRORS, answer
from serve.schemas.exchange import json_response


def router(stack: Stack) -> APIRouter:
    """Return the health routes."""
    routes = APIRouter(tags=["health"], responses=ERRORS)

    @routes.get("/healthz")
    async def healthz() -> Response:
        """Tell that this replica lives."""
        return json_response({"status": "ok"})

    @routes.get("/readyz")
    async def readyz() -> Response:
        """Tell whether this replica can take requests, and if not, why.

        The answer is measured beforehand, so anybody may ask, and often. Causes are in the log.
        `warnings` tells what is wrong with the deployment and does not keep it from requests.
        """
        reasons = stack.readiness.reasons()
        if reasons:
            return _not_ready(reasons)
        body: dict[str, object] = {"status": "ready", "ready": True, "reasons": []}
        warnings = stack.readiness.warnings()
        if warnings:
            body["warnings"] = _shown(warnings)
        return json_response(body)

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
        """Redirect from the address of Rill Flow's documentation."""
        return RedirectResponse("/docs")

    return routes


def _not_ready(reasons: Sequence[Reason]) -> Response:
    """Return a refusal that lists the reasons."""
    sentences = "; ".join(each.message for each in reasons)
    body = {
        "error_code": StoreError.wire_code,
        "error": f"not ready: {sentences}",
        "status": "not ready",
        "ready": False,
        "reasons": _shown(reasons),
    }
    response = json_response(body, 503)
    response.headers["Retry-After"] = "1"
    return response


def _shown(reasons: Sequence[Reason]) -> list[dict[str, str]]:
    return [{"code": each.code, "message": each.message} for each in reasons]
