"""Writing the appends of an owner, and noticing when a newer owner has taken over.

Used by `runtime/owner/execution_owner.py`.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from rillflow.errors import (
    ConflictError,
    CrashedError,
    FencedError,
    QuotaError,
    RillflowError,
    StoreError,
)
from rillflow.ports.store import Append, Journal
from rillflow.runtime.activation.fencing import OwnerEpoch
from rillflow.runtime.aio.background import Crashed

log = logging.getLogger("rillflow.owner")

OWNERSHIP_S: Final = 2.0
"""How long an owner that was taken for dead may read after it was replaced."""
_ONE_BY_ONE: Final = "what was written together is written one by one"


class JournalWriter:
    """Appends to the journal.

    ``crashed`` is called for an execution that cannot be written, ``on_fenced`` when this owner was
    replaced and must leave.
    """

    def __init__(
        self,
        journal: Journal,
        ownership: OwnerEpoch,
        *,
        crashed: Crashed,
        on_fenced: Callable[[], None],
    ) -> None:
        self._journal = journal
        self._ownership = ownership
        self._crashed = crashed
        self._on_fenced = on_fenced

    async def append(self, appends: Sequence[Append]) -> RillflowError | None:
        """Write appends together; return why they were not written, None if they were."""
        if not appends:
            return None
        try:
            await self._journal.append(appends)
        except StoreError as error:
            return await self._not_written(appends, error)
        except Exception as error:  # noqa: BLE001 - one execution must not stop the others
            if len(appends) > 1:
                return ConflictError(_ONE_BY_ONE)
            self._crashed(appends[0].execution_id, error)
            return CrashedError("internal server error")
        return None

    async def watch_ownership(self) -> None:
        """Notice a newer owner also when there is nothing to write, and leave."""
        while True:
            await asyncio.sleep(OWNERSHIP_S)
            try:
                await self._leave_if_lost()
            except Exception:
                log.exception("ownership_not_checked")

    async def _not_written(self, appends: Sequence[Append], error: StoreError) -> RillflowError:
        if isinstance(error, FencedError):
            return await self._fenced(appends, error)
        if isinstance(error, QuotaError):
            return error if len(appends) == 1 else ConflictError(_ONE_BY_ONE)
        log.error("append_failed", extra={"appends": len(appends)}, exc_info=error)
        return error

    async def _fenced(self, appends: Sequence[Append], error: FencedError) -> RillflowError:
        """Adopt those of the executions that are dedicated, or leave.

        What was read of them before is out of date, so their calls are handled again.
        """
        log.warning("fenced", extra={"appends": len(appends)})
        ids = [append.execution_id for append in appends]
        elsewhere = [each for each in ids if self._ownership.is_elsewhere(each)]
        try:
            for execution_id in elsewhere:
                await self._ownership.adopt(execution_id)
        except StoreError as failure:
            return failure
        await self._leave_if_lost()
        return ConflictError("what was read is out of date") if elsewhere else error

    async def _leave_if_lost(self) -> None:
        try:
            if await self._ownership.is_lost():
                self._on_fenced()
        except StoreError as error:
            log.warning("ownership_unknown", extra={"reason": str(error)})
