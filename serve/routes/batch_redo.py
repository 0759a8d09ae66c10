"""``multi_redo.json``: redoes many executions, one by one, in the background (spec 5.2, Q60).

``api.py`` stops the batches of a replica when it ends.

Used by `serve/api.py`.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Final, TypeAlias

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from rillflow.errors import OverloadedError
from rillflow.ids import ExecutionId
from rillflow.runtime.backpressure.quotas import LEAST_BYTES
from rillflow.runtime.backpressure.service_health import MINUTE_MS
from rillflow.runtime.batch_redo import Batch
from rillflow.runtime.stack import Stack
from rillflow.task_set import TaskSet
from serve.limits.callers import caller_of, sender_of
from serve.routes.hot import OK
from serve.schemas.answers import Done
from serve.schemas.documentation import ERRORS, answer
from serve.schemas.exchange import raw_response
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
"""Batches in progress at a replica above which more are refused: each redoes 50 in a second.

A half of them may be of one workspace, and a half of one sender, so that others have room.
"""
MOST_OF_ONE: Final = MOST_BATCHES // 2


_WORKSPACE: Final = "workspace"
_SENDER: Final = "sender"
_Owners: TypeAlias = tuple[tuple[str, str], ...]


class BatchRedo:
    """The batches in progress in this process; they end with it."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._under_way = TaskSet[None]()
        self._of: Counter[tuple[str, str]] = Counter()
        """Batches by workspace and by sender; all of them by workspace."""

    async def begin(self, batch: Batch, sender: str) -> None:
        """Find the executions of a batch, and redo them in the background.

        Raises:
            RequestError: That is switched off.
            OverloadedError: Too many batches are in progress (429), or the store has no room.
        """
        owners = (_WORKSPACE, batch.business), (_SENDER, sender)
        self._check(owners)
        await self._stack.stored.admit(batch.business, LEAST_BYTES)
        self._of.update(owners)
        try:
            execution_ids = await batch.find(self._stack)
        except BaseException:
            self._end(owners)
            raise
        self._under_way.start(self._redo(batch, execution_ids, owners))

    def _check(self, owners: _Owners) -> None:
        in_all = sum(count for (kind, _), count in self._of.items() if kind == _WORKSPACE)
        if in_all >= MOST_BATCHES:
            raise _refusal(f"{MOST_BATCHES} batches of redos")
        for kind, name in owners:
            if self._of[kind, name] >= MOST_OF_ONE:
                raise _refusal(f"{MOST_OF_ONE} batches of redos of this {kind}")

    async def _redo(
        self, batch: Batch, execution_ids: Sequence[ExecutionId], owners: _Owners
    ) -> None:
        try:
            await batch.redo(self._stack, execution_ids)
        finally:
            self._end(owners)

    def _end(self, owners: _Owners) -> None:
        for owner in owners:
            self._of[owner] -= 1
            if not self._of[owner]:
                del self._of[owner]

    async def stop(self) -> None:
        """Cancel the batches in progress."""
        await self._under_way.stop()


def _refusal(which: str) -> OverloadedError:
    return OverloadedError(f"{which} are in progress at this server; try again later")


def router(stack: Stack, batches: BatchRedo) -> APIRouter:
    """Return the route that starts a batch."""
    routes = APIRouter(tags=["run"], responses=ERRORS)

    @routes.post("/flow/multi_redo.json", responses=answer(Done))
    async def multi_redo(  # noqa: PLR0913, PLR0917 - the parameters of the endpoint
        request: Request,
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
            by=caller_of(request.scope).name,
        )
        await batches.begin(batch, sender_of(request.scope))
        return raw_response(OK)

    return routes
