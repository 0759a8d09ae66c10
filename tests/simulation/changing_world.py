"""A world whose owners become more and fewer, roll one by one, stop, and are taken over.

What the controller does is played by this world: it ends all owners before those of the next
partition map start, replaces processes one by one, and judges by the leases of owners, and by the
rules of the product, which of them have stopped.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from rillflow.ids import PARTITIONS, is_execution_id
from rillflow.runtime.endpoints.owner_endpoint import OwnPartitions
from rillflow.runtime.supervision.signs_of_life import RENEW_S, SignsOfLife
from tests.simulation.faults import FAIR, Faults
from tests.simulation.flows import Workflows
from tests.simulation.parts import RESTART_S, dispatcher_name, host_name
from tests.simulation.virtual_loop import Life
from tests.simulation.world import World

LOOK_S: Final = 0.25
COUNTS: Final = (1, 2, 3, 4)
DRAIN_S: Final = 2.0
LONG_FREEZE_S: Final = (5.0, 20.0)


class ChangingWorld(World):
    """See the module."""

    def __init__(self, seed: int, *, faults: Faults, workflows: Workflows) -> None:
        super().__init__(seed, faults=faults, workflows=workflows)
        self._map = 1
        # Others are as they were before anybody took over meanwhile, for the seeds kept.
        self._takes_over_in_rolls = seed % 4 in {1, 2}
        self._changing = asyncio.Lock()
        self._rolling = False
        self._signs = SignsOfLife(now_s=self.around.loop.time)
        self._network.moved = self._has_moved
        self._renewals: list[asyncio.Task[None]] = []
        self.takeovers = 0
        self.changes = 0

    async def run(self) -> None:
        """Live through all of it, watched."""
        self._begin(self._watch())
        await super().run()

    def _is_gone(self, name: str) -> bool:
        """Tell of dedicated executions only: an owner of partitions comes back, or another one."""
        return is_execution_id(name) and super()._is_gone(name)

    def _has_moved(self, name: str) -> bool:
        """Tell whether an owner has ended for good; the first one is in every map."""
        return name != host_name(0) and not self.supervisor.supervises(name)

    def _watched(self, life: Life) -> dict[str, Any]:
        names = [host_name(index) for index in range(self._hosts)]
        if life.name not in names:
            return super()._watched(life)
        self._renewals.append(self.around.loop.spawn(life, self._renew(life), name="lease"))
        owns = range(names.index(life.name), PARTITIONS, self._hosts)
        return {"own": OwnPartitions(owns, version=self._map, owners=self._hosts)}

    async def _stop(self) -> None:
        for each in self._renewals:
            each.cancel()
        await super()._stop()

    async def _renew(self, life: Life) -> None:
        await self.store.take_owner_lease(life.name, repr(life))
        while True:
            await asyncio.sleep(RENEW_S)
            if not await self.store.renew_owner_lease(life.name, repr(life)):
                life.kill()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            if self._changing.locked() and not self._rolling:
                continue
            newest = self.supervisor.newest
            names = [name for name in newest if name.startswith("host")]
            for name in self._signs.look(names, await self.store.owner_leases()):
                if not newest[name].frozen:  # it answers, or is about to be started again
                    self._signs.give(name)
            for name in self._signs.stopped(()):
                self._take_over(name)

    def _take_over(self, name: str) -> None:
        stopped = self.supervisor.newest[name]
        self.around.note("take over", name)
        if not stopped.frozen:
            self.around.break_promise(f"{stopped} was taken over from, and had not stopped")
        self.takeovers += 1
        self._signs.give(name)
        self.supervisor.take_over(name)
        if self.around.random.random() < 0.5:
            stopped.kill()  # else it could not be reached, and finds out by itself

    # -- changes --------------------------------------------------------------------

    async def _upheavals(self) -> None:
        if self.around.faults == FAIR:
            return
        await asyncio.gather(super()._upheavals(), self._change(), self._stand_still())

    async def _change(self) -> None:
        for _ in range(self.around.random.choice([1, 2, 3])):
            await self.around.pause(0.2, 4.0)
            async with self._changing:
                await self.around.random.choice(self._ways())()
            self.changes += 1

    def _ways(self) -> list[Callable[[], Awaitable[None]]]:
        return [self._recount, self._roll]

    async def _stand_still(self) -> None:
        """Stop an owner for so long that others take over."""
        await self.around.pause(0.1, 6.0)
        async with self._changing:
            life = self.supervisor.newest[self._some_host()]
            self.around.note("stop", repr(life))
            life.frozen = True
            self.around.later(self.around.random.uniform(*LONG_FREEZE_S), self._thaw, life)

    async def _recount(self) -> None:
        """End all owners, and start as many as another partition map has."""
        count = self.around.random.choice(COUNTS)
        self.around.note("owners", f"{count} instead of {self._hosts}")
        for name in [each for each in self.supervisor.newest if each.startswith("host")]:
            await self._drain(self.supervisor.newest[name])
            if self.supervisor.newest[name].frozen and self.around.random.random() < 0.5:
                self.supervisor.abandon(name)
            else:
                self.supervisor.lose(name)
        await self.around.pause(0.05, 1.0)
        self._map += 1
        self._hosts = count
        for index in range(count):
            owns = range(index, PARTITIONS, count)
            self.supervisor.supervise(host_name(index), self._host_starter(host_name(index), owns))

    async def _roll(self) -> None:
        """Replace every process, one by one, by one with other settings."""
        self.around.note("roll")
        self._most_hot = self.around.random.choice([1, 2, 100])
        await self._roll_all(self._in_order())

    def _in_order(self) -> list[str]:
        dispatchers = map(dispatcher_name, range(self._dispatchers))
        return [*dispatchers, *map(host_name, range(self._hosts))]

    async def _roll_all(self, names: Iterable[str]) -> None:
        self._rolling = self._takes_over_in_rolls
        for name in names:
            before = self.supervisor.newest[name]
            await self._drain(before)
            if self.supervisor.newest.get(name) is before:  # else somebody has taken over
                before.kill()
                await asyncio.sleep(2 * RESTART_S)
            assert self.supervisor.newest.get(name) is not before
        self._rolling = False

    async def _drain(self, life: Life) -> None:
        """Have a process finish, if it can; half of them do not."""
        process = self.processes.get(life)
        if process is None or life.dead or life.frozen or self.around.random.random() < 0.5:
            return
        # One that dies meanwhile does not answer.
        await asyncio.wait([self.around.loop.spawn(life, process.stop())], timeout=DRAIN_S)

    # What happens to any process does not happen while there may be none.

    def _depose(self) -> None:
        if not self._changing.locked():
            super()._depose()

    def _jump(self) -> None:
        if not self._changing.locked():
            super()._jump()
