"""The actual state of the actors of the deployment, compared with the wanted state.

Used by `serve/api.py`.
"""

from fastapi import APIRouter
from starlette.responses import Response

from rillflow.runtime.stack import Stack
from rillflow.runtime.supervision.cluster_view import cluster_view
from serve.forms.answers import Cluster
from serve.forms.bodies import json_response
from serve.forms.documentation import ERRORS, answer


def router(stack: Stack) -> APIRouter:
    """Return the route that shows the deployment."""
    routes = APIRouter(prefix="/flow", tags=["protection"], responses=ERRORS)

    @routes.get("/cluster.json", responses=answer(Cluster))
    async def cluster() -> Response:
        """Show what is wanted, and what each actor was started with, owns and does.

        `converged` tells whether all actors run as wanted. `rillflow up` has no controller.
        """
        return json_response(cluster_view(await stack.cluster.state()))

    return routes
