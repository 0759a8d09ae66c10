"""Notes who has submitted executions, for keys that were made with that option.

Others are not noted: a row for each submission would double what is written for it. Submissions
that come at the same time are noted together.

Used by `serve/routes/hot.py`.
"""

import asyncio
import logging
from collections.abc import Sequence

from starlette.types import Scope

from rillflow.errors import StoreError
from rillflow.ids import ExecutionId, workspace_of
from rillflow.ports.storage.access import AuditEntry
from rillflow.runtime.aio.batching import Batcher
from rillflow.runtime.stack import Stack
from rillflow.task_set import TaskSet
from serve.limits.callers import caller_of
from serve.limits.client_addresses import address_of

log = logging.getLogger("rillflow.audit")

ACTION = "submit"


class AuditedSubmissions:
    """Writes entries of the audit."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._batches = Batcher[AuditEntry, None](self._write)
        self._notes = TaskSet[None]()

    async def note(self, scope: Scope, execution_id: ExecutionId) -> None:
        """Note an execution that was started; a caller who leaves changes nothing."""
        await asyncio.shield(self._notes.start(self._note(scope, execution_id)))

    async def _note(self, scope: Scope, execution_id: ExecutionId) -> None:
        caller = caller_of(scope)
        entry = AuditEntry(
            at_ms=self._stack.clock.now_ms(),
            action=ACTION,
            subject=execution_id,
            workspace=workspace_of(execution_id),
            key=caller.name,
            key_id=caller.key_id,
            address=address_of(scope),
        )
        try:
            await self._batches.ask(entry)
        except StoreError as error:
            facts = {"action": ACTION, "key": caller.name, "subject": execution_id}
            log.warning("audit_not_kept", extra={**facts, "reason": str(error)})

    async def _write(self, entries: Sequence[AuditEntry]) -> list[None]:
        await self._stack.store.note_audit(entries)
        return [None] * len(entries)
