"""``multi_redo.json``: redoes many executions, one by one, in the background (spec 5.2, Q60).

``api.py`` stops the batches of a replica when it ends.

Used by `serve/api.py`.
"""

from typing import Annotated, Final

from fastapi import APIRouter, Query
from starlette.responses import Response

from rillflow.errors import OverloadedError
from rillflow.runtime.backpressure.service_health import MINUTE_MS
from rillflow.runtime.batch_redo import Batch
from rillflow.runtime.stack import Stack
from rillflow.task_set import TaskSet
from serve.routes.hot import OK
from serve.schemas.answers import Done
from serve.schemas.bodies import raw_response
from serve.schemas.documentation import ERRORS, answer
from serve.schemas.parameters import (
    Minutes,
    Names,
    Scope,
    Whole,
    Word,
    failed_only,
    listed,
    service_of,
)

MOST_BATCHES: Final = 32
"""Batches in progress at a replica above which more are refused: each redoes 50 in a second."""


class BatchRedo:
    """The batches in progress in this process; they end with it."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._under_way = TaskSet[None]()
        self._beginning = 0

    async def begin(self, batch: Batch) -> None:
        """Find the executions of a batch, and redo them in the background.

        Raises:
            RequestError: That is switched off.
            OverloadedError: Too many batches are in progress (429).
        """
        if len(self._under_way) + self._beginning >= MOST_BATCHES:
            raise OverloadedError(
                f"{MOST_BATCHES} batches of redos are in progress at this server; try again later"
            )
        self._beginning += 1
        try:
            execution_ids = await batch.find(self._stack)
        finally:
            self._beginning -= 1
        self._under_way.start(batch.redo(self._stack, execution_ids))

    async def stop(self) -> None:
        """Cancel the batches in progress."""
        await self._under_way.stop()


def router(stack: Stack, batches: BatchRedo) -> APIRouter:
    """Return the route that starts a batch."""
    routes = APIRouter(tags=["run"], responses=ERRORS)

    @routes.post("/flow/multi_redo.json", responses=answer(Done))
    async def multi_redo(  # noqa: PLR0913, PLR0917 - the parameters of the endpoint
        service_id: str,
        type: Annotated[Word, Query(description="`failed` or `running`.")] = "failed",  # noqa: A002 - the parameter's name
        code: str | None = None,
        offset_in_minute: Minutes = 0,
        count: Whole = 100,
        task_names: Names = None,
        rate_limit: Whole = 30,
        scope: Scope = "whole",
    ) -> Response:
        """Do the newest executions of a service again, in the background.

        Those that were submitted `offset_in_minute` ago or earlier, up to `count` (30000)
        of them, up to `rate_limit` (50) in a second.
        """
        service = service_of(service_id)
        batch = Batch(
            business=service.business,
            feature=service.feature,
            status=type,
            code=code or None,
            to_ms=stack.clock.now_ms() - offset_in_minute * MINUTE_MS,
            tasks=listed(task_names),
            limit=count,
            per_second=rate_limit,
            failed_only=failed_only(scope),
        )
        await batches.begin(batch)
        return raw_response(OK)

    return routes
