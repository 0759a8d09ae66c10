"""Actors that have stopped are replaced, unless they have gone on before their turn."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from rillflow.actors.monitoring.reports import Reports
from rillflow.actors.takeover.actor_watch import ActorWatch, StillStopped, Stopped
from rillflow.actors.takeover.claims import Claim, Claims
from rillflow.actors.takeover.takeovers import Takeovers
from rillflow.runtime.supervision.convergence import EXECUTION, Kind
from rillflow.runtime.supervision.signs_of_life import STOPPED_S, SignsOfLife
from rillflow.stores.memory.store import MemoryStore

WITHIN_S: Final = 60.0
LOST: Final = [Stopped(f"rillflow:execution:{number}", object(), "node") for number in range(2)]


class Actors:
    """Starts actors by name, after as long as a test wants."""

    def __init__(self) -> None:
        self.claims = Claims()
        self.claims.note_ending(())
        self.silent = {each.name for each in LOST}
        self.replaced: list[str] = []
        self.fails = ""
        self.takeovers = Takeovers(
            self.claims, Reports("test"), self._restart, lambda *_: None, lambda _: None
        )

    async def still_stopped(self, lost: Sequence[Stopped]) -> list[Stopped]:
        """Return those that are silent now."""
        return [each for each in lost if each.name in self.silent]

    async def _restart(
        self, claim: Claim, name: str, _actor: Any, _start: Callable[[], Any]
    ) -> str:
        assert claim.holds(name)
        if name == self.fails:
            raise RuntimeError("a library is broken")
        self.replaced.append(name)
        return "other node"


async def test_who_goes_on_while_others_are_at_work_is_left_alone() -> None:
    actors = Actors()
    await actors.claims.lock.acquire()
    taking = asyncio.create_task(actors.takeovers.take_over(LOST, actors.still_stopped))
    await asyncio.sleep(0)
    actors.silent.remove(LOST[0].name)
    actors.claims.lock.release()
    async with asyncio.timeout(WITHIN_S):
        await taking
    assert actors.replaced == [LOST[1].name]
    actors.silent.clear()
    await actors.takeovers.take_over(LOST, actors.still_stopped)
    assert (actors.replaced, actors.claims.takeovers) == ([LOST[1].name], 1)


async def test_one_that_cannot_be_replaced_keeps_no_other_from_it() -> None:
    actors = Actors()
    actors.fails = LOST[0].name
    async with asyncio.timeout(WITHIN_S):
        await actors.takeovers.take_over(LOST, actors.still_stopped)
    assert actors.replaced == [LOST[1].name]


async def test_processes_start_where_the_next_actors_will_and_none_on_the_only_node() -> None:
    actors = Actors()
    started: list[dict[str, int]] = []

    async def start(counts: Mapping[str, int], patience_s: float) -> None:
        assert patience_s > 0
        started.append(dict(counts))

    actors.takeovers.nodes = lambda: ["node", "second", "third"]
    await actors.takeovers.prepare(start, LOST)
    assert started == [{"second": 1, "third": 1}]
    actors.takeovers.nodes = lambda: ["node"]
    await actors.takeovers.prepare(start, LOST)
    assert started[1:] == [{}]


class Watch(ActorWatch):
    """Watches actors that Ray takes for alive, on a node that can be reached."""

    def __init__(self) -> None:
        names: list[tuple[str, Kind]] = [(each.name, EXECUTION) for each in LOST]
        self.store = MemoryStore()
        super().__init__("test", names, self.store, self.take_over, self.prepare)
        self.prepared: list[tuple[float, list[str]]] = []
        self.fails = False
        self.time_s = 0.0
        self._signs = SignsOfLife(now_s=lambda: self.time_s)
        self.taken: list[list[str]] = []
        self.is_taken = asyncio.Event()

    async def take_over(self, stopped: Sequence[Stopped], still_stopped: StillStopped) -> None:
        del still_stopped
        self.taken.append([each.name for each in stopped])
        await self.is_taken.wait()

    async def prepare(self, silent: Sequence[Stopped]) -> None:
        self.prepared.append((self.time_s, [each.name for each in silent]))
        if self.fails:
            raise RuntimeError("a node does not answer")

    async def look_until(self, end_s: float, *, renewing: Sequence[str]) -> None:
        """Look as time goes by, while some owners renew their leases."""
        while self.time_s < end_s:
            self.time_s += 0.25
            for name in renewing:
                assert await self.store.renew_owner_lease(name, "1")
            await self.look()
            for _ in range(10):
                await asyncio.sleep(0)

    def _places(self, names: Sequence[str]) -> dict[str, Stopped]:
        return {each.name: each for each in LOST if each.name in names}

    async def _answer_of(self, name: str) -> None:
        del name

    async def _probe(self, suspected: object) -> None:
        del suspected


async def test_another_actor_that_stops_does_not_wait_for_a_takeover_that_has_begun() -> None:
    watch = Watch()
    await watch.store.open()
    first, second = (each.name for each in LOST)
    for name in (first, second):
        await watch.store.take_owner_lease(name, "1")
    await watch.look_until(2 * STOPPED_S, renewing=[second])
    assert watch.taken == [[first]], "once, however long it takes"
    await watch.look_until(4 * STOPPED_S, renewing=[])
    assert watch.taken == [[first], [second]]
    watch.is_taken.set()
    await watch.look_until(6 * STOPPED_S, renewing=[second])
    assert watch.taken == [[first], [second], [first]], "the next process may stop, too"


async def test_a_process_starts_for_the_next_actor_before_it_is_certain_that_one_has_stopped() -> (
    None
):
    watch = Watch()
    watch.fails = True
    await watch.store.open()
    first, second = (each.name for each in LOST)
    for name in (first, second):
        await watch.store.take_owner_lease(name, "1")
    await watch.look_until(STOPPED_S - 1, renewing=[second])
    [(prepared_s, names)] = watch.prepared
    assert names == [first]
    assert prepared_s < STOPPED_S / 2
    await watch.look_until(STOPPED_S + 3, renewing=[])
    assert watch.taken == [[first]], "whether or not there is a process"
    assert [names for _, names in watch.prepared] == [[first], [second]], "once for each"
    watch.is_taken.set()
    await watch.look_until(2 * STOPPED_S, renewing=[first, second])
    await watch.look_until(3 * STOPPED_S - 1, renewing=[second])
    assert [names for _, names in watch.prepared] == [[first], [second], [first]]
