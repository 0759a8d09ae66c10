"""The actual state of the actors of the deployment, compared with the wanted state.

Used by `serve/api.py`.
"""

from typing import Annotated, Final, TypeAlias

from fastapi import APIRouter, Query
from starlette.responses import Response

from rillflow.errors import RequestError
from rillflow.ids import ExecutionId, service_of
from rillflow.runtime.stack import Stack
from rillflow.runtime.supervision.cluster_view import cluster_view
from serve.schemas.answers import Cluster
from serve.schemas.documentation import ERRORS, answer
from serve.schemas.exchange import json_response

MOST_IDS: Final = 100
ExecutionIds: TypeAlias = Annotated[
    str, Query(description="Executions of which `holders` tells the actors, between commas.")
]


def router(stack: Stack) -> APIRouter:
    """Return the route that shows the deployment."""
    routes = APIRouter(prefix="/flow", tags=["protection"], responses=ERRORS)

    @routes.get("/cluster.json", responses=answer(Cluster))
    async def cluster(execution_ids: ExecutionIds = "") -> Response:
        """Show what is wanted, and what each actor was started with, owns and does.

        `converged` tells whether all actors run as wanted. `rillflow up` has no controller.
        With `execution_ids`, `holders` names the actor that holds each execution, and its node.
        """
        return json_response(cluster_view(await stack.cluster.state(_ids(execution_ids))))

    return routes


def _ids(text: str) -> list[ExecutionId]:
    """Read execution ids between commas.

    Raises:
        RequestError: One is none, or they are too many.
    """
    ids = list(map(ExecutionId, filter(None, text.split(","))))
    if len(ids) > MOST_IDS:
        raise RequestError(f"execution_ids has {len(ids)} ids; ask for {MOST_IDS} at most")
    for each in ids:
        service_of(each)  # refuses what is none
    return ids
