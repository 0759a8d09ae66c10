"""Who only reads executions brings few of them into memory at a time; nobody reads two large ones.

What a call uses stays in memory, whatever the limit of executions in memory says.
"""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from itertools import count, takewhile
from typing import Any, Final

import pytest

from rillflow.core.events import CancelRequested, WakeUpReceived
from rillflow.core.plan import Plan
from rillflow.errors import LargeExecutionError, NotReadyError, UnreadAnswersError
from rillflow.ids import ExecutionId
from rillflow.ports.executions import Call, Delivery, Query
from rillflow.ports.storage.store import StoredExecution
from rillflow.runtime.activation.large_reads import RESIDENCE
from rillflow.runtime.activation.leases import MOST_COLD_BYTES
from rillflow.runtime.activation.replay import LONG_BYTES
from rillflow.runtime.activation.replays import LARGE_BYTES
from rillflow.runtime.aio.fair_turns import TURN_S, FairTurns
from rillflow.runtime.aio.workspace_places import MOST_OF_ONE
from rillflow.runtime.owner.cold_reads import (
    MOST_AT_ONCE,
    MOST_WAITING,
    MOST_WITH_OTHERS,
    ColdReads,
)
from rillflow.stores.memory.store import MemoryStore
from tests.api.definition_texts import SUSPENDED
from tests.unit.test_long_reads import Owned

SHORT_S: Final = 30
SLOW_S: Final = 0.2
HOT_BYTES: Final = 1 << 20
MOST_READS_OF_ONE: Final = 8
"""Of 24 events; how many these are depends on how long a read takes, but not one for each."""


class CountingStore(MemoryStore):
    """A store that counts how many executions are read at once, and how many large ones."""

    def __init__(self) -> None:
        super().__init__()
        self.begin()

    def begin(self) -> None:
        """Count from now on."""
        self.most = self.most_large = self.large = self.loads = 0
        self._under_way: list[bool] = []

    async def load(
        self, execution_id: ExecutionId, most_bytes: int | None = None
    ) -> StoredExecution | None:
        is_large = most_bytes is None
        self._under_way.append(is_large)
        self.large += is_large
        self.loads += 1
        self.most = max(self.most, len(self._under_way))
        self.most_large = max(self.most_large, sum(self._under_way))
        await asyncio.sleep(0)
        try:
            return await super().load(execution_id, most_bytes)
        finally:
            self._under_way.remove(is_large)


class Counted(Owned):
    """An owner that keeps one execution in memory, over a store that counts reads."""

    def __init__(self, store: CountingStore | None = None, turns: FairTurns | None = None) -> None:
        self.counting = store or CountingStore()
        super().__init__(self.counting, hot_bytes=HOT_BYTES, turns=turns)

    async def cold(self, number: int, size_bytes: int, business: str = "shop") -> list[ExecutionId]:
        """Submit executions with so much text, which leave memory."""
        version = await self.add(SUSPENDED)
        ids: list[ExecutionId] = []
        for _ in range(number):
            await self.submit(version, "x" * size_bytes, business)
            ids.append(self.last)
        await self.submit(version)
        self.counting.begin()
        return ids


@pytest.fixture(name="owned")
async def _owned() -> AsyncIterator[Counted]:
    owned = Counted()
    await owned.store.open()
    await owned.owner.start()
    yield owned
    await owned.owner.stop()
    await owned.store.close()


async def test_few_executions_are_read_at_once_for_those_who_only_read(owned: Counted) -> None:
    ids = await owned.cold(12, 2 * LONG_BYTES)
    async with asyncio.timeout(SHORT_S):
        replies = await asyncio.gather(
            *(owned.owner.call_many([owned.status_of(each)]) for each in ids)
        )
    assert all(reply.error is None for [reply] in replies)
    assert owned.counting.most == MOST_AT_ONCE


async def test_queries_of_one_batch_are_answered_one_after_the_other(owned: Counted) -> None:
    ids = await owned.cold(4, 2 * LONG_BYTES)
    asked = (owned.owner.call_many([*map(owned.status_of, ids)]) for _ in range(3))
    async with asyncio.timeout(SHORT_S):
        told = await asyncio.gather(*asked)
    assert all(reply.error is None for replies in told for reply in replies)
    assert owned.counting.most <= MOST_AT_ONCE


async def test_large_executions_are_read_one_at_a_time_whoever_needs_them(owned: Counted) -> None:
    ids = await owned.cold(4, LARGE_BYTES)
    woken = [
        Delivery(execution_id=each, event=WakeUpReceived(at_ms=2, data=b"{}", task="wait"))
        for each in ids[:2]
    ]
    calls: list[Call] = [*map(owned.status_of, ids[2:]), *woken]
    async with asyncio.timeout(SHORT_S):
        replies = await asyncio.gather(*(owned.caller.ask(each) for each in calls))
    assert [reply.error for reply in replies] == [None] * 4
    assert owned.counting.most_large == 1


async def test_a_large_one_is_not_read_again_for_each_small_one_between_its_events(
    owned: Counted,
) -> None:
    [large] = await owned.cold(1, 2 * LARGE_BYTES)
    version = await owned.add(SUSPENDED)
    async with asyncio.timeout(SHORT_S):
        for at_ms in range(3, 27):
            event = WakeUpReceived(at_ms=at_ms, data=b'{"n":%d}' % at_ms, task="wait")
            reply = await owned.caller.ask(Delivery(execution_id=large, event=event))
            assert reply.error is None
            await owned.submit(version)
    assert 1 <= owned.counting.large <= MOST_READS_OF_ONE


async def test_a_large_one_leaves_when_it_is_not_used(owned: Counted) -> None:
    [large] = await owned.cold(1, 2 * LARGE_BYTES)
    assert (await owned.caller.ask(owned.status_of(large))).error is None
    assert owned.owner.knows(large)
    async with asyncio.timeout(SHORT_S):
        for _ in takewhile(lambda _: owned.owner.knows(large), count()):
            await asyncio.sleep(0)


async def test_no_list_brings_a_large_execution_into_memory(owned: Counted) -> None:
    [large] = await owned.cold(1, LARGE_BYTES)
    listed = Query(execution_id=large, kind="status", reads_large=False)
    assert (await owned.caller.ask(listed)).kind == LargeExecutionError.code
    assert (owned.sent[-1], owned.counting.most_large) == ((1, False), 0)
    assert (await owned.caller.ask(owned.status_of(large))).error is None
    assert (await owned.caller.ask(listed)).error is None, "it is in memory"


async def test_a_batch_reads_a_few_megabytes_and_leaves_the_rest(owned: Counted) -> None:
    fit = MOST_COLD_BYTES // (LONG_BYTES - 1_000) + 1
    ids = await owned.cold(fit + 3, LONG_BYTES - 1_000)
    replies = await owned.owner.call_ready([*map(owned.status_of, ids)])
    refused = [reply.kind for reply in replies].count(NotReadyError.code)
    assert 1 <= refused <= 4
    assert (await owned.caller.ask(owned.status_of(ids[-1]))).error is None


class Readers:
    """Readers who keep the places that they get until ``gate`` opens."""

    def __init__(self) -> None:
        self.places, self.gate, self.read = ColdReads(), asyncio.Event(), list[str]()
        self._tasks: list[asyncio.Task[None]] = []

    async def come(self, *names: str) -> None:
        """Have a reader come for each of some executions, and look what they get at once."""
        self._tasks += [asyncio.create_task(self._hold(name)) for name in names]
        for _ in range(3):
            await asyncio.sleep(0)

    async def leave(self, number: int) -> None:
        """Have a reader leave."""
        self._tasks[number].cancel()
        await asyncio.wait({self._tasks[number]})
        await self.come()

    async def end(self) -> None:
        """Let all have a place, and end."""
        self.gate.set()
        async with asyncio.timeout(SHORT_S):
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _hold(self, name: str) -> None:
        async with self.places.place(name):
            self.read.append(name)
            await self.gate.wait()


async def test_a_workspace_that_reads_many_holds_up_no_other() -> None:
    readers = Readers()
    await readers.come("a:1", "a:2", "a:3", "a:4", "b:1", "b:2", "c:1")
    assert readers.read == ["a:1", "a:2", "b:1"], "a place is left to those who have none"
    await readers.leave(0)
    assert readers.read[3:] == ["c:1"], "its turn is before those of workspaces with a place"
    await readers.leave(1)
    assert readers.read[4:] == ["a:3"]
    await readers.leave(4)
    assert readers.read[5:] == ["b:2"]
    await readers.end()
    assert sorted(readers.read) == ["a:1", "a:2", "a:3", "a:4", "b:1", "b:2", "c:1"]


async def test_a_workspace_has_half_of_those_who_wait() -> None:
    readers = Readers()
    await readers.come("a:x", "a:y", *(f"a:{each}" for each in range(MOST_WAITING // 2)))
    with pytest.raises(UnreadAnswersError, match="try again later"):
        async with readers.places.place("a:last"):
            pass
    await readers.come("b:1")
    assert readers.read == ["a:x", "a:y", "b:1"]
    await readers.end()


async def test_large_executions_of_workspaces_are_read_in_turn() -> None:
    owned = Counted(SlowStore())
    await owned.store.open()
    await owned.owner.start()
    try:
        ids = await owned.cold(4, LARGE_BYTES)
        others = await owned.cold(1, LARGE_BYTES, "other")
        order: list[ExecutionId] = []

        async def ask(execution_id: ExecutionId) -> None:
            await owned.owner.call_many([woken(execution_id)])
            order.append(execution_id)

        async with asyncio.timeout(2 * SHORT_S):
            await asyncio.gather(*map(ask, [*ids, *others]))
        assert order.index(others[0]) <= 2, order
    finally:
        await owned.owner.stop()
        await owned.store.close()


async def test_more_readers_than_may_wait_are_refused() -> None:
    places = ColdReads()

    async def read() -> None:
        async with places.place(f"w{next(numbers)}:f"):
            await gate.wait()

    gate, numbers = asyncio.Event(), count()
    async with AsyncExitStack() as readers:
        for _ in range(MOST_WITH_OTHERS):
            await readers.enter_async_context(places.place(f"w{next(numbers)}:f"))
        waiting = [asyncio.create_task(read()) for _ in range(2 * MOST_WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(UnreadAnswersError, match="try again later"):
            await read()
        waiting[0].cancel()
        await asyncio.wait(waiting[:1])
        waiting[0] = asyncio.create_task(read())
        await asyncio.sleep(0)
    gate.set()
    async with asyncio.timeout(SHORT_S):
        await asyncio.gather(*waiting)


async def test_readers_of_one_execution_share_its_reading_and_its_place(owned: Counted) -> None:
    ids = await owned.cold(4, LARGE_BYTES)
    asked = [owned.status_of(each) for _ in range(10) for each in ids]
    async with asyncio.timeout(SHORT_S):
        told = await asyncio.gather(*(owned.owner.call_many([each]) for each in asked))
    assert all(reply.error is None for [reply] in told)
    assert owned.counting.large == len(ids)


async def test_a_reader_who_leaves_takes_no_place_from_those_who_wait_with_it() -> None:
    places, read = ColdReads(), list[str]()
    gate, second, third = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def hold(name: str) -> None:
        async with places.place(f"shop:{name}"):
            read.append(name)
            if name == "b":
                second.set()
            if name == "c":
                third.set()
            await gate.wait()

    held = [asyncio.create_task(hold(name)) for name in "abcc"]
    async with asyncio.timeout(SHORT_S):
        await second.wait()
    assert read == ["a", "b"]
    held[2].cancel()
    held[0].cancel()
    await asyncio.wait({held[0], held[2]})
    async with asyncio.timeout(SHORT_S):
        await third.wait()
    assert read == ["a", "b", "c"]
    gate.set()
    await asyncio.gather(*held, return_exceptions=True)
    async with places.place("shop:d"), places.place("shop:e"):
        pass


class SlowStore(CountingStore):
    """A store that takes a while for large executions."""

    async def load(
        self, execution_id: ExecutionId, most_bytes: int | None = None
    ) -> StoredExecution | None:
        if most_bytes is None:
            await asyncio.to_thread(threading.Event().wait, SLOW_S)
        return await super().load(execution_id, most_bytes)


async def test_two_that_run_and_do_not_fit_together_each_have_their_time_in_memory() -> None:
    owned = Counted(SlowStore())
    await owned.store.open()
    await owned.owner.start()
    try:
        first, second = await owned.cold(2, LARGE_BYTES)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(SHORT_S):
            await owned.owner.call_many([woken(first)])
            since_s, reads = loop.time(), owned.counting.large
            other = asyncio.create_task(owned.owner.call_many([woken(second)]))
            await other
            assert loop.time() - since_s >= (1 + RESIDENCE) * SLOW_S * 0.9
            assert owned.counting.large == reads + 1
    finally:
        await owned.owner.stop()
        await owned.store.close()


def woken(execution_id: ExecutionId) -> Delivery:
    event = WakeUpReceived(at_ms=2, data=b"{}", task="wait")
    return Delivery(execution_id=execution_id, event=event)


async def test_events_of_a_workspace_have_read_so_many_executions_that_wait(
    owned: Counted,
) -> None:
    many = await owned.cold(MOST_OF_ONE + 9, 100, "busy")
    [other] = await owned.cold(1, 100)
    activations = owned.owner._activations
    gate, plan_of = asyncio.Event(), activations.plans.get

    async def held(definition_id: str, **options: Any) -> Plan:
        if options["workspace"] == "busy":
            await gate.wait()
        return await plan_of(definition_id, **options)

    activations.plans.get = held  # type: ignore[method-assign]  # as if it took long to prepare
    owned.counting.begin()
    waiting = [asyncio.create_task(activations.lease(each)) for each in many]
    async with asyncio.timeout(SHORT_S):
        found = await activations.lease(other)
        assert found is not None
        assert owned.counting.loads == MOST_OF_ONE + 1
        gate.set()
        leased = await asyncio.gather(*waiting)
    for execution in (found, *leased):
        assert execution is not None
        activations.release(execution)
    assert len(activations._places) == 0


@pytest.mark.parametrize("is_over", [False, True])
async def test_events_that_wait_for_a_large_execution_share_one_reading(*, is_over: bool) -> None:
    """Each event fills a turn of the loop, so that others are read between two of an execution."""
    times_s = count(step=TURN_S)
    owned = Counted(turns=FairTurns(cpu_s=lambda: next(times_s), clock_s=lambda: next(times_s)))
    await owned.store.open()
    await owned.owner.start()
    try:
        ids = await owned.cold(4, LARGE_BYTES)
        if is_over:
            ended = [Delivery(execution_id=each, event=CancelRequested(at_ms=2)) for each in ids]
            await owned.owner.call_many(ended)
        owned.counting.begin()
        batches = [[woken(each) for _ in range(3) for each in ids] for _ in range(4)]
        async with asyncio.timeout(SHORT_S):
            replies = await asyncio.gather(*map(owned.owner.call_many, batches))
        errors = {reply.error is not None for batch in replies for reply in batch}
        assert errors == {is_over}
        assert owned.counting.large <= len(ids) + 1
    finally:
        await owned.owner.stop()
        await owned.store.close()
