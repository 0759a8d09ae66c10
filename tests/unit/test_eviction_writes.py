"""What waits for others only, and has left memory, is not read again until something happens."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import pytest

from rillflow.core.events import CallbackReceived, RedoRequested
from rillflow.errors import StoreError
from rillflow.ids import PARTITIONS, ExecutionId, new_execution_id
from rillflow.ports.executions import Delivery, Submission
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest
from rillflow.ports.storage.store import Append, StoredExecution
from rillflow.runtime.definitions.catalogue import add_descriptor
from rillflow.runtime.local import LocalExecutions
from rillflow.runtime.process.clock import SystemClock
from rillflow.stores.memory.store import MemoryStore
from tests.submissions import submission_event

WAITING: Final = """
workspace: house
dagName: work
type: flow
tasks:
  - { name: do, category: function, pattern: task_async, resourceName: "http://f/do" }
"""
TWICE: Final = (
    WAITING.rstrip().replace(" }", ", next: again }")
    + """
  - { name: again, category: function, pattern: task_async, resourceName: "http://f/again" }
"""
)
TIMED: Final = WAITING.replace(" }", ", timeline: { timeoutInSeconds: 3600 } }")


class WatchedStore(MemoryStore):
    """A store that tells what is read, whose first call is answered, and what rests."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[ExecutionId] = []
        self.answered: asyncio.Queue[ExecutionId] = asyncio.Queue()
        self.noted: asyncio.Queue[ExecutionId] = asyncio.Queue()
        self.refuses_notes = False

    async def append(self, appends: Sequence[Append]) -> None:
        if self.refuses_notes and any(each.rests for each in appends):
            raise StoreError("no notes today")
        await super().append(appends)
        for append in appends:
            if append.rests:
                self.noted.put_nowait(append.execution_id)
            elif append.first_seq == 2:
                self.answered.put_nowait(append.execution_id)

    async def load(
        self, execution_id: ExecutionId, most_bytes: int | None = None
    ) -> StoredExecution | None:
        self.read.append(execution_id)
        return await super().load(execution_id, most_bytes)


class Gateway:
    """Accepts every call, and counts them by task."""

    def __init__(self) -> None:
        self.calls: asyncio.Queue[tuple[ExecutionId, str]] = asyncio.Queue()

    async def call(self, request: DispatchRequest) -> DispatchAnswer:
        self.calls.put_nowait((request.execution_id, request.task))
        return DispatchAnswer(
            execution_id=request.execution_id, task=request.task, attempt=request.attempt
        )

    async def close(self) -> None:
        """Nothing is open."""


class House:
    """Executions of one workflow, of which one at a time stays in memory."""

    def __init__(self, store: WatchedStore, version: str) -> None:
        self.store = store
        self.gateway = Gateway()
        self._version = version
        self.executions = LocalExecutions(
            store=store, gateway=self.gateway, clock=SystemClock(), most_hot=1
        )

    async def submit(self) -> ExecutionId:
        """Start an execution; it waits, and others leave memory."""
        execution_id = new_execution_id("house", "work", at_ms=1, entropy=os.urandom(10))
        event = submission_event(execution_id, self._version)
        submission = Submission(business="house", feature="work", event=event)
        (await self.executions.call(submission)).raise_for_error()
        assert (await self.gateway.calls.get())[0] == execution_id
        assert await self.store.answered.get() == execution_id
        return execution_id

    async def call_back(self, execution_id: ExecutionId, task: str = "do") -> None:
        event = CallbackReceived(at_ms=2, task=task, succeeded=True)
        reply = await self.executions.call(Delivery(execution_id=execution_id, event=event))
        reply.raise_for_error()


@asynccontextmanager
async def house_of(text: str, store: WatchedStore | None = None) -> AsyncIterator[House]:
    store = store or WatchedStore()
    await store.open()
    found = await add_descriptor(store, "house", "work", "release", text, at_ms=1)
    house = House(store, found.version or "")
    await house.executions.start()
    await house.executions.host.recovered()
    yield house
    await house.executions.stop()


async def unfinished(store: WatchedStore) -> list[ExecutionId]:
    return await store.unfinished(range(PARTITIONS))


async def noted(store: WatchedStore, *execution_ids: ExecutionId) -> None:
    async with asyncio.timeout(60):
        assert {await store.noted.get() for _ in execution_ids} == set(execution_ids)


async def test_a_start_reads_only_what_was_in_memory() -> None:
    store = WatchedStore()
    async with house_of(WAITING, store) as house:
        ids = [await house.submit() for _ in range(3)]
        await noted(store, *ids[:2])
        assert await unfinished(store) == ids[2:]
    store.read.clear()
    async with house_of(WAITING, store) as house:
        assert store.read == ids[2:]
        for execution_id in ids:
            await house.call_back(execution_id)
            assert await house.executions.wait(execution_id, 10)
        assert house.gateway.calls.empty(), "no call is made again"


async def test_one_that_goes_on_does_not_rest_any_more() -> None:
    store = WatchedStore()
    async with house_of(TWICE, store) as house:
        first, second = await house.submit(), await house.submit()
        await noted(store, first)
        await house.call_back(first)
        assert first in await unfinished(store)
        await noted(store, second)
        assert await house.gateway.calls.get() == (first, "again")
        await house.call_back(first, "again")
        assert await house.executions.wait(first, 10)


async def test_one_that_was_redone_after_its_end_does_not_rest() -> None:
    store = WatchedStore()
    async with house_of(WAITING, store) as house:
        first, _ = await house.submit(), await house.submit()
        await noted(store, first)
        await house.call_back(first)
        await house.executions.host.settled(first)
        redo = RedoRequested(at_ms=3, tasks=("do",))
        reply = await house.executions.call(Delivery(execution_id=first, event=redo))
        reply.raise_for_error()
        assert first in await unfinished(store)


async def test_one_with_a_timer_does_not_rest() -> None:
    store = WatchedStore()
    async with house_of(TIMED, store) as house:
        ids = [await house.submit() for _ in range(3)]
        assert await unfinished(store) == sorted(ids, key=ids.index)
        assert store.noted.empty()


async def test_looking_at_one_that_rests_notes_nothing_again() -> None:
    store = WatchedStore()
    async with house_of(WAITING, store) as house:
        first, second = await house.submit(), await house.submit()
        await noted(store, first)
        assert not await house.executions.wait(first, 0.01)
        await noted(store, second)
        assert not await house.executions.wait(second, 0.01)
        assert store.noted.empty()


async def test_what_could_not_be_noted_is_read_at_the_next_start(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = WatchedStore()
    store.refuses_notes = True
    async with house_of(WAITING, store) as house:
        ids = [await house.submit() for _ in range(3)]
    async with house_of(WAITING, store) as house:
        assert set(ids) <= set(store.read)
    assert caplog.records == []
