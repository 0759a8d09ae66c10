"""A changing world that also moves to the release before or after, and back.

What the controller does is played here too: replicas move first, then dispatchers, owners of
partitions and those of dedicated executions, one by one. Some moves are given up half-way, and what
has moved goes back. Meanwhile a process of a release that is too far away asks for what would do
harm, and must be refused.
"""

from collections.abc import Awaitable, Callable, Iterator
from random import Random
from typing import Final

from rillflow.core.events import CancelRequested
from rillflow.errors import ProtocolError, RillflowError
from rillflow.ids import is_execution_id
from rillflow.ports.executions import Delivery
from rillflow.ports.messages import Calls, Dispatches, encode_message
from tests.simulation.changing_world import ChangingWorld
from tests.simulation.faults import FAIR, Faults, draw_faults
from tests.simulation.flows import Workflows, draw_workflows
from tests.simulation.parts import dispatcher_name, host_name
from tests.simulation.releases import DISTANT, NOW, PAIRS, Release
from tests.simulation.virtual_loop import Life
from tests.simulation.world import Finding, World, differences, live

REPLICAS: Final = ("people", "functions")
"""Who calls owners from outside."""
VISITS: Final = 3
LATEST: Final = 1 << 40
"""An epoch after all others: with it, the orders of the real owner would be outdated."""
ALL_FROM: Final = 10_000_000
"""From this seed on every world moves between releases, and some of those before it."""


class UpgradedWorld(ChangingWorld):
    """See the module."""

    def __init__(
        self,
        seed: int,
        *,
        faults: Faults,
        workflows: Workflows,
        releases: tuple[Release, Release],
        stranger: Release,
    ) -> None:
        """Begin with the first of the ``releases``; ``stranger`` is that of whoever does harm."""
        super().__init__(seed, faults=faults, workflows=workflows)
        self._wanted, self._other = releases
        self._by_name: dict[str, Release] = {}
        self._by_life: dict[Life, Release] = {}
        self._stranger = self.around.begin_life("stranger", frail=False)
        self._by_life[self._stranger] = stranger
        self._network.release_of = self.store.release_of = self._release_of
        for each in filter(lambda release: release.protocol < NOW.protocol, releases):
            self.promises.known = each.known

    def _release_of(self, life: Life | None) -> Release:
        """Return the release of a process: that of its code, whatever is wanted since."""
        if life is None:
            return NOW
        return self._by_life.setdefault(life, self._by_name.get(life.name, self._wanted))

    async def _upheavals(self) -> None:
        visit = self.around.loop.spawn(self._stranger, self._visit())
        await super()._upheavals()
        await visit

    def _ways(self) -> list[Callable[[], Awaitable[None]]]:
        return [*super()._ways(), self._move, self._move, self._move]

    async def _move(self) -> None:
        """Replace every process by one of the other release, or go back half-way."""
        before, self._wanted, self._other = self._wanted, self._other, self._wanted
        self._count("moves")
        self.around.note("move", f"from protocol {before.protocol} to {self._wanted.protocol}")
        names = [*REPLICAS, *self._in_order(), *filter(is_execution_id, self.supervisor.newest)]
        if self.around.random.random() < 0.3:
            names = names[: self.around.random.randrange(len(names))]
            await self._roll_all(self._moved(names))
            self._wanted, self._other = self._other, self._wanted
            self._count("moves given up")
            self.around.note("move back")
        await self._roll_all(self._moved(names))

    def _moved(self, names: list[str]) -> Iterator[str]:
        """Move names to the wanted release; yield those of processes that have to be replaced."""
        for name in names:
            for life in [each for each in self.around.lives if each.name == name]:
                if name in REPLICAS:
                    self._by_life[life] = self._wanted  # as if another one had come in its place
                else:
                    self._release_of(life)  # noted, since it keeps its own
            self._by_name[name] = self._wanted
            if name in self.supervisor.newest:
                yield name

    def _count(self, what: str) -> None:
        self.promises.counts[what] += 1

    # -- a process of a distant release -----------------------------------------------

    async def _visit(self) -> None:
        """Cancel executions, and take the place of an owner at a dispatcher, or try to."""
        for _ in range(VISITS):
            await self.around.pause(0.3, 3.0)
            name, message = self.around.random.choice([self._cancelling, self._in_its_place])()
            if message is None:
                continue
            try:
                await self._network.connection_to(name, self._network.has_moved)(message)
            except ProtocolError:
                self._count("refused strangers")
            except RillflowError as error:
                self.around.note("stranger", str(error))
            else:
                self.around.break_promise(f"{name} has answered a process of a distant release")

    def _cancelling(self) -> tuple[str, bytes | None]:
        executions = list(self.promises.mirrors)
        if not executions:
            return "", None
        cancel = CancelRequested(at_ms=0)
        calls = [Delivery(execution_id=each, event=cancel) for each in executions]
        return host_name(0), encode_message(Calls([*calls]))

    def _in_its_place(self) -> tuple[str, bytes | None]:
        index = self.around.random.randrange(self._dispatchers)
        order = Dispatches(host_name(0), LATEST, 1, b"", [])
        return dispatcher_name(index), encode_message(order)


def simulate_changing(
    seed: int,
    releases: tuple[Release, Release] | None = None,
    stranger: Release = DISTANT,
) -> tuple[Finding, ChangingWorld]:
    """Run one seed of a changing world, with these ``releases`` or those that it draws."""
    random = Random(seed)
    workflows, faults = draw_workflows(random), draw_faults(random)
    if faults == FAIR:
        faults = faults._replace(upheavals=1)
    releases = releases or _draw_releases(seed)
    world = ChangingWorld(seed, faults=faults, workflows=workflows)
    if releases is not None:
        world = UpgradedWorld(
            seed, faults=faults, workflows=workflows, releases=releases, stranger=stranger
        )
    finding = live(world)
    if workflows.sure and not finding.broken:
        calm = live(World(seed, faults=FAIR, workflows=workflows))
        finding = finding._replace(broken=calm.broken + differences(finding, calm))
    return finding, world


def _draw_releases(seed: int) -> tuple[Release, Release] | None:
    """Return between which releases a world moves, the first one first; None where there is one."""
    # Others are as they were before there were releases, for the seeds kept.
    if seed < ALL_FROM and seed % 10 not in {1, 3, 6}:
        return None
    random = Random(seed + 4)
    earlier, later = random.choice(PAIRS)
    return (earlier, later) if random.random() < 0.7 else (later, earlier)
