"""Doing many executions again, one after the other, in the background (SEMANTICS 5.2, Q60)."""

import asyncio
import logging
from typing import Annotated, Final

from fastapi import APIRouter, Query
from starlette.responses import Response

from rillflow.actors.stack import Stack
from rillflow.core.events import RedoRequested
from rillflow.errors import RequestError, RillflowError
from rillflow.ids import ExecutionId
from rillflow.ports.store import ExecutionFilter
from rillflow.runtime.flow_health import MINUTE_MS
from serve.answers import Done
from serve.documentation import ERRORS, answer
from serve.hot_routes import OK
from serve.parameters import Minutes, Names, Whole, Word, listed, service_of
from serve.wire import raw_response

log = logging.getLogger("rillflow.batch_redo")

TYPES: Final = ("failed", "running")
MOST: Final = 30_000
MOST_PER_SECOND: Final = 50
DEGRADED: Final = 30107


class BatchRedo:
    """The redos that are under way in this process; they end with it."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._under_way: set[asyncio.Task[None]] = set()

    def begin(
        self, execution_ids: list[ExecutionId], tasks: tuple[str, ...], *, per_second: int
    ) -> None:
        """Do executions again, in order, no faster than a rate; those that refuse are passed."""
        redo = asyncio.create_task(self._run(execution_ids, tasks, per_second))
        self._under_way.add(redo)
        redo.add_done_callback(self._under_way.discard)

    async def stop(self) -> None:
        """Give up what is under way."""
        for redo in self._under_way:
            redo.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _run(
        self, execution_ids: list[ExecutionId], tasks: tuple[str, ...], per_second: int
    ) -> None:
        clock = self._stack.clock
        start_s = clock.monotonic_s()
        for number, execution_id in enumerate(execution_ids):
            wait_s = start_s + number / per_second - clock.monotonic_s()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            try:
                event = RedoRequested(at_ms=clock.now_ms(), tasks=tasks)
                await self._stack.deliver(execution_id, event)
            except RillflowError as error:
                log.warning(
                    "redo_refused", extra={"execution_id": execution_id, "reason": str(error)}
                )


def router(stack: Stack, batches: BatchRedo) -> APIRouter:
    """Return the route that begins a batch."""
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
    ) -> Response:
        """Do the newest executions of a service again, in the background.

        Those that were submitted `offset_in_minute` ago or earlier, up to `count` (30000)
        of them, up to `rate_limit` (50) in a second.
        """
        _check(type, count, rate_limit)
        if not stack.settings.switch("ENABLE_FLOW_DAG_MULTI_REDO"):
            raise RequestError("multi redo is switched off", wire_code=DEGRADED)
        service = service_of(service_id)
        wanted = ExecutionFilter(
            business=service.business,
            feature=service.feature,
            statuses=(type,),
            code=code or None,
            to_ms=stack.clock.now_ms() - offset_in_minute * MINUTE_MS,
        )
        found = await stack.store.list_executions(wanted, limit=count)
        execution_ids = [summary.execution_id for summary in found]
        batches.begin(execution_ids, listed(task_names), per_second=rate_limit)
        return raw_response(OK)

    return routes


def _check(kind: str, count: int, rate_limit: int) -> None:
    if kind not in TYPES:
        raise RequestError(f"type {kind} nonsupport")
    if not 1 <= rate_limit <= MOST_PER_SECOND:
        raise RequestError(f"rate_limit {rate_limit} nonsupport")
    if not 1 <= count <= MOST:
        raise RequestError(f"count {count} nonsupport")
