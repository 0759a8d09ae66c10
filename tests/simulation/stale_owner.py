"""A run after a script, in fair weather: an owner that stood still goes on when all have left.

The simulation has found it by chance, at seed 3045181 of its worlds of that day.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from rillflow.core.events import RedoRequested
from rillflow.ids import is_execution_id
from tests.simulation.faults import FAIR
from tests.simulation.flows import Workflows
from tests.simulation.people import Wish
from tests.simulation.world import Finding, World, live
from tests.spec.notation import Definition, fn

REDONE: Final = "F1"
LOOK_S: Final = 0.05


def _flow(name: str) -> Definition:
    return {"workspace": "demo", "dagName": name, "type": "flow", "tasks": [fn(REDONE, "sync")]}


class StaleOwner(World):
    """One dedicated execution, whose owner is taken for dead while it starts."""

    def __init__(self) -> None:
        flows = Workflows(_flow("main"), _flow("child"), _flow("child"), sure=False)
        super().__init__(0, faults=FAIR, workflows=flows)
        self._wishes = [Wish(0, "", x=1, uid=0, callers=0, dedicated=True)]

    async def _upheavals(self) -> None:
        await _until(lambda: any(each.over for each in self.promises.mirrors.values()))
        [owner] = filter(is_execution_id, self.supervisor.newest)
        self.supervisor.newest[owner].kill()
        self.supervisor.take_over(owner)
        stale = self.supervisor.newest[owner]
        stale.frozen = True
        redo = RedoRequested(at_ms=0, tasks=(REDONE,))
        self._begin(self.people._deliver(owner, redo))
        await asyncio.sleep(1.0)
        self.supervisor.take_over(owner)
        await _until(lambda: not self.supervisor.supervises(owner))
        self._thaw(stale)


async def _until(is_true: Callable[[], bool]) -> None:
    while True:
        await asyncio.sleep(LOOK_S)
        if is_true():
            return


def simulate_stale_owner() -> Finding:
    """Run the script and return what it has shown."""
    return live(StaleOwner())
