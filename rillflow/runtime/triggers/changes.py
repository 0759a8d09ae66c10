"""Learning which triggers have changed, from the revision in the store.

Used by `runtime/triggers/runner.py` and `runtime/triggers/sources/runner.py`.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from rillflow.errors import RillflowError
from rillflow.ports.triggers import TriggerRow, Triggers

log = logging.getLogger("rillflow.triggers")

LOOK_S: Final = 1.0
"""How often the revision in the store is read."""
ROWS_AT_ONCE: Final = 500
TOGETHER: Final = 50
"""Triggers for which the event loop is held at most."""


class TriggerChanges:
    """The changes of the triggers of a store, each once."""

    def __init__(self, store: Triggers, learn: Callable[[TriggerRow], None]) -> None:
        self._store = store
        self._learn = learn
        self._revision = 0

    async def look(self) -> None:
        """Learn what has changed; a failure is left to the next look."""
        try:
            newest = await self._store.newest_trigger_revision()
            while self._revision < newest:
                rows = await self._store.changed_triggers(self._revision, limit=ROWS_AT_ONCE)
                for number, row in enumerate(rows, start=1):
                    self._learn_one(row)
                    self._revision = max(self._revision, row.revision)
                    if not number % TOGETHER:
                        await asyncio.sleep(0)
                if len(rows) < ROWS_AT_ONCE:
                    self._revision = max(self._revision, newest)
        except RillflowError as error:
            log.warning("triggers_not_read", extra={"reason": str(error)})
        except Exception:
            log.exception("triggers_not_read")

    def _learn_one(self, row: TriggerRow) -> None:
        """Take a trigger; one that cannot be taken keeps no later one from being learned."""
        try:
            self._learn(row)
        except Exception:
            log.exception("trigger_not_read", extra={"trigger": row.id})
