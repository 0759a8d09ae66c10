"""What the webhooks of this process have started, added to the progress of their triggers.

It is written about once a second, however many requests come. Several processes write the same
rows: of two that write in the same moment, one may be lost, so the numbers may be too low by what
came in that second.

Used by `runtime/triggers/webhooks/deliveries.py`.
"""

import asyncio
import logging
from typing import Final

import msgspec

from rillflow.errors import RillflowError
from rillflow.ids import ExecutionId
from rillflow.ports.clock import Clock
from rillflow.ports.triggers import TriggerProgress, Triggers
from rillflow.runtime.triggers.progress import (
    LONGEST_REASON,
    Progress,
    decode_progress,
    encode_progress,
)

log = logging.getLogger("rillflow.triggers")

PAUSE_S: Final = 1.0
AT_ONCE: Final = 100
"""Triggers whose rows are read together."""


class _Added(msgspec.Struct):
    """What is to be added to the progress of a trigger."""

    fired: int = 0
    last_ms: int = 0
    last_execution: ExecutionId = ExecutionId("")
    error: str | None = None


class WebhookProgress:
    """Notes of firings that are not in the store yet."""

    def __init__(self, store: Triggers, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._noted: dict[str, _Added] = {}
        self._writing: asyncio.Task[None] | None = None

    def started(self, trigger_id: str, execution_id: ExecutionId) -> None:
        """Note an execution that was started."""
        noted = self._of(trigger_id)
        noted.fired += 1
        noted.last_ms, noted.last_execution = self._clock.now_ms(), execution_id
        noted.error = ""

    def refused(self, trigger_id: str, reason: str) -> None:
        """Note why a request started none."""
        self._of(trigger_id).error = reason[:LONGEST_REASON]

    async def stop(self) -> None:
        """Write what is noted, and nothing more."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
        await self._write()

    def _of(self, trigger_id: str) -> _Added:
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_soon(), name="webhook progress")
        return self._noted.setdefault(trigger_id, _Added())

    async def _write_soon(self) -> None:
        while self._noted:
            await asyncio.sleep(PAUSE_S)
            await self._write()

    async def _write(self) -> None:
        noted, self._noted = self._noted, {}
        ids = list(noted)
        for first in range(0, len(ids), AT_ONCE):
            part = ids[first : first + AT_ONCE]
            try:
                stored = await self._store.triggers_now(part)
                rows = [
                    TriggerProgress(
                        id=each,
                        position_ms=max(stored[each][0].position_ms, noted[each].last_ms),
                        progress=_added(stored[each][0].progress, noted[each]),
                    )
                    for each in part
                    if each in stored
                ]
                await self._store.note_trigger_progress(rows)
            except RillflowError as error:
                # They are numbers for people: what cannot be written is not kept.
                log.warning("trigger_progress_not_stored", extra={"reason": str(error)})


def _added(stored: str, noted: _Added) -> str:
    progress: Progress = decode_progress(stored)
    changes: dict[str, object] = {"fired": progress.fired + noted.fired}
    if noted.fired:
        changes |= {"last_ms": noted.last_ms, "last_execution": noted.last_execution}
    if noted.error is not None:
        changes["error"] = noted.error
    return encode_progress(msgspec.structs.replace(progress, **changes))
