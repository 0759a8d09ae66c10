"""Every dedicated execution that is not over has a home, whatever became of the last one."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from random import Random
from typing import Final

import pytest

from rillflow.errors import StoreError
from rillflow.ids import PARTITIONS, ExecutionId
from rillflow.runtime.ownership import DEDICATED_LISTING
from rillflow.runtime.respawning import LONGEST_SPAWN_S, LOOK_S, PAUSE_S, Respawning
from rillflow.stores.memory import MemoryStore
from tests.simulation.virtual_loop import VirtualLoop

FIRST: Final = ("a", "b", "c")


@pytest.fixture(autouse=True)
def _silence() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


class Listing(MemoryStore):
    """A store that lists what it is told to, once it can be read."""

    def __init__(self, unfinished: Sequence[ExecutionId], *, failures: int = 0) -> None:
        super().__init__()
        self.ids = list(unfinished)
        self._failures = failures

    async def unfinished(self, partitions: Sequence[int]) -> list[ExecutionId]:
        assert list(partitions) == [DEDICATED_LISTING + each for each in range(PARTITIONS)]
        if self._failures:
            self._failures -= 1
            raise StoreError("it cannot be read now")
        return list(self.ids)


class Homes:
    """Homes that were started, and when; ``begin`` is what a start goes through."""

    def __init__(self, begin: Callable[[ExecutionId], Awaitable[None]] | None = None) -> None:
        self.there: set[ExecutionId] = set()
        self.started: list[tuple[float, ExecutionId]] = []
        self._begin = begin

    async def spawn(self, execution_id: ExecutionId) -> None:
        if self._begin is not None:
            await self._begin(execution_id)
        self.started.append((asyncio.get_running_loop().time(), execution_id))
        self.there.add(execution_id)

    async def living(self) -> set[ExecutionId]:
        return set(self.there)


def play(
    store: MemoryStore, homes: Homes, *, for_s: float, acts: dict[float, Callable[[], None]]
) -> list[tuple[float, ExecutionId]]:
    """Let time pass, with what happens at which second; return what was started when."""

    async def scene() -> None:
        loop = asyncio.get_running_loop()
        respawning = asyncio.create_task(Respawning(store, range(PARTITIONS), homes).run())
        for at_s, act in acts.items():
            loop.call_at(at_s, act)
        await asyncio.sleep(for_s)
        respawning.cancel()
        await asyncio.gather(respawning, return_exceptions=True)

    loop = VirtualLoop(Random(7))
    loop.run_until_complete(scene())
    loop.bury(())
    return sorted(homes.started)


def test_a_start_finds_a_home_for_everything_but_what_has_one() -> None:
    homes = Homes()
    homes.there = {"b"}
    assert play(Listing(FIRST), homes, for_s=LOOK_S * 5, acts={}) == [(0, "a"), (0, "c")]


def test_a_start_waits_for_a_store_that_cannot_be_read() -> None:
    [(at_s, _)] = play(Listing(["a"], failures=3), Homes(), for_s=LOOK_S, acts={})
    assert 0 < at_s < 1


def test_a_home_that_is_lost_is_started_at_the_next_look() -> None:
    homes = Homes()
    acts = {LOOK_S * 2.5: lambda: homes.there.discard("b")}
    started = play(Listing(FIRST), homes, for_s=LOOK_S * 9, acts=acts)
    assert started[3:] == [(LOOK_S * 3, "b")]


def test_what_comes_later_is_looked_after_as_well() -> None:
    store, homes = Listing([]), Homes()
    acts = {LOOK_S * 1.5: lambda: store.ids.append("late")}
    assert play(store, homes, for_s=LOOK_S * 4, acts=acts) == [(LOOK_S * 2, "late")]


def test_what_is_over_gets_no_home() -> None:
    store, homes = Listing(FIRST), Homes()

    def end() -> None:
        store.ids.remove("a")
        homes.there.remove("a")

    assert len(play(store, homes, for_s=LOOK_S * 9, acts={LOOK_S * 1.5: end})) == len(FIRST)


def test_a_home_that_leaves_again_and_again_is_started_more_and_more_rarely() -> None:
    class Restless(Homes):
        async def living(self) -> set[ExecutionId]:
            return set()

    started = play(Listing(["a"]), Restless(), for_s=LOOK_S * 40, acts={})
    looks = [round(at_s / LOOK_S) + 1 for at_s, _ in started]
    assert looks == [1, 2, 4, 8, 16, 32]


def test_a_home_that_cannot_be_started_holds_up_no_other_and_comes_again() -> None:
    failures = ["a", "a"]

    async def begin(execution_id: ExecutionId) -> None:
        if execution_id in failures:
            failures.remove(execution_id)
            raise ZeroDivisionError

    started = play(Listing(FIRST), Homes(begin), for_s=LOOK_S, acts={})
    assert started == [(0, "b"), (0, "c"), (PAUSE_S * 2, "a")]


def test_a_home_that_never_gets_ready_holds_up_no_other() -> None:
    async def begin(execution_id: ExecutionId) -> None:
        if execution_id == "a" and asyncio.get_running_loop().time() < LONGEST_SPAWN_S:
            await asyncio.Event().wait()

    started = play(Listing(FIRST), Homes(begin), for_s=LONGEST_SPAWN_S * 2, acts={})
    assert started == [(0, "b"), (0, "c"), (LONGEST_SPAWN_S + PAUSE_S, "a")]


def test_homes_that_cannot_be_asked_for_are_asked_for_again() -> None:
    class Hidden(Homes):
        async def living(self) -> set[ExecutionId]:
            if asyncio.get_running_loop().time() < PAUSE_S * 2:
                raise OSError
            return await super().living()

    assert play(Listing(["a"]), Hidden(), for_s=LOOK_S, acts={}) == [(PAUSE_S * 2, "a")]
