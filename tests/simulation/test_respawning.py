"""Every dedicated execution that is not over has an owner, whatever became of the last one."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from random import Random
from typing import Final, cast

import pytest

from rillflow.errors import DamagedError, StoreError
from rillflow.ids import (
    DEDICATED_LISTING,
    PARTITIONS,
    ExecutionId,
    listing_partition,
    new_execution_id,
)
from rillflow.runtime.dispatch.client import DispatcherClient
from rillflow.runtime.owner.dedicated_exit import LINGER_S, until_done
from rillflow.runtime.owner.execution_owner import ExecutionOwner
from rillflow.runtime.routing.router import ExecutionRouter, OwnerRef
from rillflow.runtime.supervision.restarts import (
    LONGEST_SPAWN_S,
    LOOK_S,
    SPAWNED_AT_ONCE,
    Restarts,
)
from rillflow.stores.memory.store import MemoryStore
from tests.simulation.stale_owner import simulate_stale_owner
from tests.simulation.surroundings import SimulatedClock
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

    async def unfinished(self, listings: Sequence[int]) -> list[ExecutionId]:
        assert list(listings) == [DEDICATED_LISTING + each for each in range(PARTITIONS)]
        if self._failures:
            self._failures -= 1
            raise StoreError("it cannot be read now")
        return list(self.ids)


class Owners:
    """Owners that were started, and when; ``begin`` is what a start goes through."""

    def __init__(self, begin: Callable[[ExecutionId], Awaitable[None]] | None = None) -> None:
        self.there: set[ExecutionId] = set()
        self.started: list[tuple[float, ExecutionId]] = []
        self._begin = begin

    async def spawn(self, execution_id: ExecutionId) -> None:
        if self._begin is not None:
            await self._begin(execution_id)
        self.started.append((asyncio.get_running_loop().time(), execution_id))
        self.there.add(execution_id)

    async def without_actor(self, execution_ids: Sequence[ExecutionId]) -> list[ExecutionId]:
        return [each for each in execution_ids if each not in self.there]


def play(
    store: MemoryStore, owners: Owners, *, for_s: float, acts: dict[float, Callable[[], None]]
) -> list[tuple[float, ExecutionId]]:
    """Let time pass, with what happens at which second; return what was started when."""

    async def scene() -> None:
        loop = asyncio.get_running_loop()
        respawning = asyncio.create_task(Restarts(store, range(PARTITIONS), owners).run())
        for at_s, act in acts.items():
            loop.call_at(at_s, act)
        await asyncio.sleep(for_s)
        respawning.cancel()
        await asyncio.gather(respawning, return_exceptions=True)

    loop = VirtualLoop(Random(7))
    loop.run_until_complete(scene())
    loop.bury(())
    return sorted(owners.started)


def test_a_start_finds_an_owner_for_everything_but_what_has_one() -> None:
    owners = Owners()
    owners.there = {"b"}
    assert play(Listing(FIRST), owners, for_s=LOOK_S * 5, acts={}) == [(0, "a"), (0, "c")]


async def test_of_many_of_one_workspace_only_one_is_started_before_those_of_others() -> None:
    ids = [*(f"a:flow_c_{number}" for number in range(20)), "b:flow_c_1", "c:flow_c_1"]
    begun: list[ExecutionId] = []
    all_began = asyncio.Event()

    async def begin(execution_id: ExecutionId) -> None:
        begun.append(execution_id)
        if len(begun) == SPAWNED_AT_ONCE:
            all_began.set()
        await asyncio.Event().wait()

    restarts = asyncio.create_task(Restarts(Listing(ids), range(PARTITIONS), Owners(begin)).run())
    await all_began.wait()
    restarts.cancel()
    await asyncio.gather(restarts, return_exceptions=True)
    assert begun == ["a:flow_c_0", "b:flow_c_1", "c:flow_c_1", "a:flow_c_1"]


def test_a_start_waits_for_a_store_that_cannot_be_read() -> None:
    [(at_s, _)] = play(Listing(["a"], failures=3), Owners(), for_s=LOOK_S, acts={})
    assert 0 < at_s < 1


def test_an_owner_that_is_lost_is_started_at_the_next_look() -> None:
    owners = Owners()
    acts = {LOOK_S * 2.5: lambda: owners.there.discard("b")}
    started = play(Listing(FIRST), owners, for_s=LOOK_S * 9, acts=acts)
    assert started[3:] == [(LOOK_S * 3, "b")]


def test_what_comes_later_is_looked_after_as_well() -> None:
    store, owners = Listing([]), Owners()
    acts = {LOOK_S * 1.5: lambda: store.ids.append("late")}
    assert play(store, owners, for_s=LOOK_S * 4, acts=acts) == [(LOOK_S * 2, "late")]


def test_what_is_over_gets_no_owner() -> None:
    store, owners = Listing(FIRST), Owners()

    def end() -> None:
        store.ids.remove("a")
        owners.there.remove("a")

    assert len(play(store, owners, for_s=LOOK_S * 9, acts={LOOK_S * 1.5: end})) == len(FIRST)


def test_an_owner_that_cannot_be_started_holds_up_no_other_and_comes_again() -> None:
    failures = ["a", "a"]

    async def begin(execution_id: ExecutionId) -> None:
        if execution_id in failures:
            failures.remove(execution_id)
            raise ZeroDivisionError

    started = play(Listing(FIRST), Owners(begin), for_s=LOOK_S * 5, acts={})
    assert started == [(0, "b"), (0, "c"), (LOOK_S * 2, "a")]


def test_an_owner_that_never_gets_ready_holds_up_no_other() -> None:
    async def begin(execution_id: ExecutionId) -> None:
        if execution_id == "a" and asyncio.get_running_loop().time() < LONGEST_SPAWN_S:
            await asyncio.Event().wait()

    owners = Owners(begin)
    acts = {LOOK_S * 1.5: lambda: owners.there.discard("b")}
    started = play(Listing(FIRST), owners, for_s=LONGEST_SPAWN_S * 2, acts=acts)
    assert started[:3] == [(0, "b"), (0, "c"), (LOOK_S * 2, "b")]
    [(at_s, again)] = started[3:]
    assert (LONGEST_SPAWN_S <= at_s <= LONGEST_SPAWN_S + LOOK_S, again) == (True, "a")


def test_owners_that_cannot_be_asked_for_are_asked_for_again() -> None:
    class Hidden(Owners):
        async def without_actor(self, execution_ids: Sequence[ExecutionId]) -> list[ExecutionId]:
            if asyncio.get_running_loop().time() < LOOK_S:
                raise OSError
            return await super().without_actor(execution_ids)

    assert play(Listing(["a"]), Hidden(), for_s=LOOK_S * 5, acts={}) == [(LOOK_S, "a")]


def test_what_is_being_started_is_given_up_with_whoever_starts_it() -> None:
    ends: list[str] = []

    async def begin(execution_id: ExecutionId) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ends.append(execution_id)

    assert play(Listing(["a"]), Owners(begin), for_s=LOOK_S * 2, acts={}) == []
    assert ends == ["a"]


def test_an_execution_that_a_stale_owner_has_begun_anew_ends() -> None:
    assert simulate_stale_owner().broken == ()


# -- whoever looks after owners, and the owners themselves, agree about when one may leave ---

ID: Final = new_execution_id("demo", "main", at_ms=1, entropy=bytes(10), dedicated=True)


class Unreadable(MemoryStore):
    """A store in which an execution cannot be read, and is listed or not."""

    def __init__(self, listed: Sequence[ExecutionId]) -> None:
        super().__init__()
        self.listed = list(listed)
        self.loads = 0

    async def load(self, execution_id: ExecutionId, most_bytes: int | None = None) -> None:
        del most_bytes
        self.loads += 1
        raise DamagedError(f"{execution_id} is damaged")

    async def unfinished(self, listings: Sequence[int]) -> list[ExecutionId]:
        return self.listed if listing_partition(ID) in listings else []


def stays(store: MemoryStore, *, for_s: float) -> bool:
    """Tell whether the owner of an execution is there after so many seconds."""
    loop = VirtualLoop(Random(7))

    async def scene() -> bool:
        client = DispatcherClient(ID, [])
        host = ExecutionOwner(
            store=store,
            clock=SimulatedClock(loop),
            dispatcher=client,
            executions=ExecutionRouter([], NoOwners()),
            callback_host="http://here",
            dedicated=ID,
        )
        await store.open()
        await host.start()
        try:
            async with asyncio.timeout(for_s):
                await until_done(host, client, store, ID)
        except TimeoutError:
            return True
        finally:
            await host.stop()
        return False

    found: bool = loop.run_until_complete(scene())
    loop.bury(())
    return found


class NoOwners:
    """Owners for an execution that asks for none."""

    def find(self, execution_id: ExecutionId) -> None:
        raise AssertionError(execution_id)

    def spawn(self, execution_id: ExecutionId) -> OwnerRef:
        raise AssertionError(execution_id)

    def forget(self, execution_id: ExecutionId) -> None:
        raise AssertionError(execution_id)


HOUR_S: Final = 3600.0


class Ended:
    """An owner whose execution has ended, and is in memory once it was read."""

    def __init__(self) -> None:
        self.reads = 0
        self.is_there = False

    async def settled(self, _: ExecutionId) -> None:
        self.reads += 1
        self.is_there = True

    def knows(self, _: ExecutionId) -> bool:
        return self.is_there

    def has_settled(self, _: ExecutionId) -> bool:
        return self.is_there


def test_an_owner_that_waits_for_its_calls_does_not_read_what_has_left_memory() -> None:
    loop, host, calls = VirtualLoop(Random(7)), Ended(), [0]

    async def scene() -> None:
        leaving = asyncio.create_task(
            until_done(cast("ExecutionOwner", host), calls, MemoryStore(), ID)
        )
        await asyncio.sleep(LINGER_S + 1)
        host.is_there = False
        await asyncio.sleep(HOUR_S)
        assert host.reads == 1
        assert not leaving.done()
        calls.clear()
        await leaving
        assert host.reads == 2

    loop.run_until_complete(scene())
    loop.bury(())


def test_an_owner_leaves_when_its_execution_has_never_begun() -> None:
    assert not stays(MemoryStore(), for_s=HOUR_S)


def test_an_owner_stays_while_an_execution_that_is_not_over_cannot_be_read() -> None:
    store = Unreadable([ID])
    assert stays(store, for_s=HOUR_S)
    assert store.loads < 40, "it looks for it more and more rarely"


def test_an_owner_leaves_an_execution_that_is_over_and_cannot_be_read() -> None:
    assert not stays(Unreadable([]), for_s=HOUR_S)
