"""Redo of many executions of a service, one after the other (spec 5.2, Q60).

Used by `client/ray_transport/driver.py` and `serve/routes/batch_redo.py`.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rillflow.core.events import RedoRequested
from rillflow.errors import RequestError, RillflowError
from rillflow.ids import ExecutionId
from rillflow.ports.storage.store import ExecutionFilter
from rillflow.runtime.stack import Stack

log = logging.getLogger("rillflow.batch_redo")

STATUSES: Final = ("failed", "running")
MOST: Final = 30_000
MOST_PER_SECOND: Final = 50
DEGRADED: Final = 30107


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Which executions to redo, and how fast; without names, all unfinished tasks.

    With ``failed_only`` only what failed in them is redone, and what succeeded is kept. ``by`` is
    the name of the key with which that was requested, empty for none.

    Raises:
        RequestError: A value is invalid (30109).
    """

    business: str
    feature: str
    status: str = "failed"
    code: str | None = None
    to_ms: int | None = None
    tasks: tuple[str, ...] = ()
    limit: int = 100
    per_second: int = 30
    failed_only: bool = False
    by: str = ""

    def __post_init__(self) -> None:
        """Check the values as Rill Flow does, with its messages and in its order."""
        if self.status not in STATUSES:
            raise RequestError(f"type {self.status} nonsupport")
        if not 1 <= self.per_second <= MOST_PER_SECOND:
            raise RequestError(f"rate_limit {self.per_second} nonsupport")
        if not 1 <= self.limit <= MOST:
            raise RequestError(f"count {self.limit} nonsupport")

    async def find(self, stack: Stack) -> list[ExecutionId]:
        """List the executions, newest first.

        Raises:
            RequestError: Redo of many executions is switched off (30107).
            StoreError: They cannot be read.
        """
        if not stack.settings.switch("ENABLE_FLOW_DAG_MULTI_REDO"):
            raise RequestError("multi redo is switched off", wire_code=DEGRADED)
        wanted = ExecutionFilter(
            business=self.business,
            feature=self.feature,
            statuses=(self.status,),
            code=self.code,
            to_ms=self.to_ms,
        )
        found = await stack.searches.list_executions(wanted, limit=self.limit)
        return [summary.execution_id for summary in found]

    async def redo(self, stack: Stack, execution_ids: Sequence[ExecutionId]) -> None:
        """Redo executions in order, no faster than allowed; those that refuse are passed over."""
        clock = stack.clock
        start_s = clock.monotonic_s()
        for number, execution_id in enumerate(execution_ids):
            wait_s = start_s + number / self.per_second - clock.monotonic_s()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            try:
                event = RedoRequested(
                    at_ms=clock.now_ms(),
                    tasks=self.tasks,
                    failed_only=self.failed_only,
                    exact=True,
                    by=self.by,
                )
                await stack.deliver(execution_id, event)
            except RillflowError as error:
                log.warning(
                    "redo_refused", extra={"execution_id": execution_id, "reason": str(error)}
                )
