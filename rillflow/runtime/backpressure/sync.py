"""Hints for the owner of a dedicated execution, which queries them before it dispatches.

Used by `runtime/commands/dispatching.py`.
"""

import asyncio
import logging
from typing import Final

import msgspec

from rillflow.ports.clock import Clock
from rillflow.ports.executions import Executions, ResourceCall
from rillflow.runtime.backpressure.busy_functions import BusyFunctions

log = logging.getLogger("rillflow.busy_functions")

FRESH_S: Final = 1.0
LONGEST_ASK_S: Final = 1.0

_blocks = msgspec.json.Decoder(dict[str, float])


class HintSync:
    """Copies the hints that the owners of partitions have for a workspace.

    A copy is valid for a second. If no answer comes in time, dispatches use the last copy.
    """

    def __init__(
        self, hints: BusyFunctions, executions: Executions, clock: Clock, workspace: str
    ) -> None:
        self._hints = hints
        self._workspace = workspace
        self._executions = executions
        self._clock = clock
        self._asked_s: float | None = None
        self._asking: asyncio.Task[None] | None = None

    @property
    def is_fresh(self) -> bool:
        """Tell whether the last copy is still valid."""
        return self._asked_s is not None and self._clock.monotonic_s() - self._asked_s < FRESH_S

    async def refresh(self) -> None:
        """Query the owners, unless the last copy is still valid."""
        if self.is_fresh:
            return
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask(), name="hints")
        await asyncio.shield(self._asking)

    async def stop(self) -> None:
        """Cancel the query under way."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    async def _ask(self) -> None:
        try:
            async with asyncio.timeout(LONGEST_ASK_S):
                asked = ResourceCall(kind="blocks", service=self._workspace)
                replies = await self._executions.ask_all(asked)
            known: dict[str, float] = {}
            for reply in replies:
                for resource, left_s in _blocks.decode(reply.body or b"{}").items():
                    known[resource] = max(left_s, known.get(resource, 0))
            if replies:
                self._hints.follow(self._workspace, known)
        except Exception:
            log.warning("hints_unknown", exc_info=True)
        finally:
            self._asked_s = self._clock.monotonic_s()
            self._asking = None
