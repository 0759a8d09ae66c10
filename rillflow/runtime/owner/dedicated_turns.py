"""The turns of the event loop of a dedicated execution, which shares the processors with others.

Used by `actors/execution_actor.py`.
"""

import asyncio
import time
from collections.abc import Callable

from rillflow.ids import ExecutionId, workspace_of
from rillflow.runtime.aio.fair_turns import FairTurns
from rillflow.runtime.crashes.crash_history import record_path
from rillflow.runtime.process.processor_slot import ProcessorSlot
from rillflow.settings import Settings


class DedicatedTurns(FairTurns):
    """Goes on after a full turn only while this process has a slot to compute.

    What fits into one turn needs none.
    """

    def __init__(
        self,
        slot: ProcessorSlot,
        cpu_s: Callable[[], float] = time.thread_time,
        clock_s: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Measure as others do; ``slot`` is that of this process."""
        super().__init__(cpu_s, clock_s)
        self._slot = slot

    def _next_turn(self) -> None:
        if self.is_full and not self._slot.take():
            asyncio.get_running_loop().call_later(self._slot.pause_s, self._next_turn)
            return
        super()._next_turn()
        if not self.is_full:
            self._slot.give_back()


def turns_of(settings: Settings, execution_id: ExecutionId | None) -> FairTurns:
    """Return the turns of the owner of one dedicated execution, or of partitions."""
    if execution_id is None:
        return FairTurns()
    folder = record_path(settings.store_url, settings.namespace, "computing")
    return DedicatedTurns(ProcessorSlot(folder, workspace_of(execution_id)))
