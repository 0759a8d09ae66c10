"""A world in which some executions bring down whoever handles them, at every try."""

import asyncio
import zlib
from collections import Counter
from random import Random
from typing import Any, Final

from rillflow.core.events import CancelRequested
from rillflow.errors import RillflowError
from rillflow.ids import ExecutionId
from rillflow.ports.executions import Delivery
from rillflow.runtime.crashes.crash_history import MOST_DEATHS, HandlingRecord, parse_page
from rillflow.runtime.hooks.chain import Action, HookChain, Moment
from tests.simulation.faults import Faults
from tests.simulation.flows import draw_workflows
from tests.simulation.surroundings import START_MS
from tests.simulation.virtual_loop import Life
from tests.simulation.world import Finding, World, live

ONE_IN: Final = 3
"""How many executions there are for each that is fatal."""
CALM_S: Final = 400.0
WEATHER: Final = Faults(
    lost=0.03,
    repeated=0.03,
    slow=0.05,
    refused=0.03,
    unsure=0.03,
    crash_before=0.01,
    crash_after=0.01,
    unreadable=0.03,
    frailty=0.0005,
)


class PageOfLife(HandlingRecord):
    """A record in memory that outlives the processes of a world, as it was when one died."""

    def __init__(self, pages: dict[str, bytes], life: Life) -> None:
        super().__init__()
        self._life = repr(life)
        self._pages = pages
        self._name = life.name
        self._is_open = False
        self.left = parse_page(pages.get(life.name, b""))
        life.mourners.append(self._keep)

    def open(self) -> None:
        self._is_open = True

    def _keep(self, _: Life) -> None:
        if self._is_open:
            self._pages[self._name] = bytes(self._page)


class FatalWorld(World):
    """See the module; in one that is ``forgetful`` records of dead processes are lost."""

    def __init__(self, seed: int, *, forgetful: bool = False) -> None:
        super().__init__(seed, faults=WEATHER, workflows=draw_workflows(Random(seed)))
        self._pages: dict[str, bytes] = {}
        self._forgetful = forgetful
        self._moment = Moment.RUN if seed % 2 else Moment.TRAVERSAL
        self.killed: Counter[ExecutionId] = Counter()

    def _watched(self, life: Life) -> dict[str, Any]:
        def ask(moment: Moment, execution_id: str, task: str, proceed: Action) -> None:
            if not life.dead and self._is_fatal(moment, execution_id, task):
                self.killed[execution_id] += 1
                if self.killed[execution_id] == MOST_DEATHS:
                    self.promises.set_apart.add(execution_id)
                self.around.note("fatal", f"{execution_id} {task}")
                life.kill()
            if not life.dead:
                proceed()

        pages = {} if self._forgetful else self._pages
        return {"guards": HookChain([ask]), "record": PageOfLife(pages, life)}

    def _is_fatal(self, moment: Moment, execution_id: str, task: str) -> bool:
        is_chosen = zlib.crc32(execution_id.encode()) % ONE_IN == 0
        return is_chosen and moment is self._moment and task.rpartition("-")[2][:1] in {"F", "A"}

    async def _settle(self) -> None:
        """See that the others have ended, and have somebody cancel the rest."""
        await asyncio.sleep(CALM_S)
        fatal = {self._family(each) for each in self.killed}
        for execution_id, mirror in self.promises.mirrors.items():
            if not mirror.settled and self._family(execution_id) not in fatal:
                self.around.break_promise(f"{execution_id} waits: {mirror.why_waiting()}")
        self._check_deaths()
        for execution_id in list(self.promises.mirrors):
            await self._cancel(execution_id)
        await super()._settle()

    def _check_deaths(self) -> None:
        for execution_id, deaths in self.killed.items():
            if deaths > MOST_DEATHS:
                self.around.break_promise(f"{execution_id} has killed {deaths} lives")

    def _family(self, execution_id: ExecutionId) -> ExecutionId:
        mirror = self.promises.mirrors.get(execution_id)
        route = mirror.state.route if mirror is not None else ()
        return route[0].execution_id if route else execution_id

    async def _cancel(self, execution_id: ExecutionId) -> None:
        if self.promises.mirrors[execution_id].over:
            return
        call = Delivery(execution_id=execution_id, event=CancelRequested(at_ms=START_MS))
        try:
            await self.people.executions.call(call)
        except RillflowError as error:
            self.around.note("not cancelled", str(error))


def simulate_fatal(seed: int, *, forgetful: bool = False) -> tuple[Finding, Counter[ExecutionId]]:
    """Run one seed; return what it has shown, and which executions were how often fatal."""
    world = FatalWorld(seed, forgetful=forgetful)
    return live(world), world.killed
