"""A large dedicated execution is in memory only while it is used."""

import asyncio
import weakref
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from rillflow.core.events import CancelRequested, WakeUpReceived
from rillflow.ids import new_execution_id
from rillflow.jsontypes import encode_json
from rillflow.ports.executions import Delivery, Reply, Submission
from rillflow.runtime.definitions.catalogue import add_descriptor
from rillflow.runtime.local import LocalExecutions
from rillflow.runtime.owner.dedicated_exit import LINGER_S
from rillflow.runtime.owner.dedicated_memory import (
    LONGEST_REST_S,
    RESIDENCE,
    REST_S,
    DedicatedMemory,
)
from rillflow.runtime.process.memory_bound import MemoryBound
from rillflow.stores.memory.store import MemoryStore
from tests.loopback import NOW_MS, ManualClock, gateway
from tests.submissions import submission_event

FLOW: Final = """
workspace: shop
dagName: order
type: flow
tasks:
  - name: one
    category: suspense
    conditions: ["$.input.never"]
"""
LARGE: Final = 4 << 20
SMALL: Final = 1 << 20
TURNS: Final = 20


class Bound(MemoryBound):
    """What a test says of it."""

    def __init__(self) -> None:
        super().__init__(None, "shop", None)
        self.says = False

    @property
    def is_reached(self) -> bool:
        """What was said."""
        return self.says


class Process:
    """The owner of one execution, and what keeps its memory small."""

    def __init__(self, executions: LocalExecutions) -> None:
        self.executions, self.clock, self.bound = executions, ManualClock(), Bound()
        self.id = new_execution_id("shop", "order", at_ms=NOW_MS, entropy=bytes(10))
        host: Any = executions.host
        self.memory = DedicatedMemory(
            self.bound, host._activations, self.id, clock_s=self.clock.monotonic_s
        )

    @property
    def is_there(self) -> bool:
        """Tell whether the execution is in memory."""
        return self.executions.host.knows(self.id)

    async def finds_it_there(self) -> bool:
        """Make a call, and tell whether it found the execution in memory."""

        async def take() -> bool:
            return self.is_there

        return await self.memory.around(take)

    async def submit(self, version: str, length: int) -> None:
        """Submit the execution with a text of this length."""
        data = encode_json({"text": "x" * length})
        event = submission_event(self.id, version, data=data, at_ms=NOW_MS)
        await self._call(Submission(business="shop", feature="order", event=event))

    async def wake(self) -> None:
        """Send a signal that ends nothing."""
        event = WakeUpReceived(at_ms=NOW_MS, task="one")
        await self._call(Delivery(execution_id=self.id, event=event))

    async def cancel(self) -> None:
        """End the execution."""
        event = CancelRequested(at_ms=NOW_MS)
        await self._call(Delivery(execution_id=self.id, event=event))
        await self.executions.host.settled(self.id)

    async def until_there(self) -> None:
        """Wait until somebody has brought the execution into memory."""
        while True:
            if self.is_there:
                return
            await asyncio.sleep(0)

    async def rest(self, seconds: float) -> None:
        """Let time pass, with a look at its beginning and its end."""
        for _ in range(TURNS):  # an append may be under way
            await asyncio.sleep(0)
        await self.memory.look()
        self.clock.forward(seconds)
        await self.memory.look()

    async def _call(self, call: Submission | Delivery) -> None:
        async def take() -> Reply:
            return await self.executions.call(call)

        assert (await self.memory.around(take)).error is None


@pytest.fixture(name="version")
async def _version(store: MemoryStore) -> str:
    return (await add_descriptor(store, "shop", "order", "release", FLOW, at_ms=1)).version or ""


@pytest.fixture(name="store")
async def _store() -> AsyncIterator[MemoryStore]:
    store = MemoryStore()
    await store.open()
    yield store
    await store.close()


@pytest.fixture(name="process")
async def _process(store: MemoryStore) -> AsyncIterator[Process]:
    async with gateway() as calls:
        executions = LocalExecutions(store=store, gateway=calls, clock=ManualClock())
        await executions.start()
        yield Process(executions)
        await executions.stop()


async def test_a_large_one_leaves_memory_once_nobody_has_used_it_for_a_while(
    process: Process, version: str
) -> None:
    await process.submit(version, LARGE)
    await process.rest(REST_S - 0.5)
    assert process.is_there
    await process.wake()
    await process.rest(REST_S - 0.5)
    assert process.is_there, "it was used meanwhile"
    await process.rest(1)
    assert not process.is_there


async def test_its_next_event_brings_it_back_for_as_long(process: Process, version: str) -> None:
    await process.submit(version, LARGE)
    await process.rest(REST_S)
    assert not process.is_there
    await process.wake()
    assert process.is_there
    await process.rest(REST_S - 0.5)
    assert process.is_there
    await process.rest(1)
    assert not process.is_there
    await process.cancel()
    assert process.executions.host.has_settled(process.id), "and it goes on to its end"


async def test_one_that_was_read_without_a_call_stays_as_long(
    process: Process, version: str
) -> None:
    await process.submit(version, LARGE)
    await process.rest(REST_S)
    waiting = asyncio.create_task(process.executions.host.settled(process.id))
    await process.until_there()
    await process.rest(REST_S - 0.5)
    assert process.is_there
    await process.rest(1)
    assert not process.is_there
    await process.cancel()
    await waiting


async def test_who_waits_for_its_end_does_not_keep_what_has_left(
    process: Process, version: str
) -> None:
    await process.submit(version, LARGE)
    host: Any = process.executions.host
    state = weakref.ref(host._activations.find(process.id))
    waiting = asyncio.create_task(process.executions.host.settled(process.id))
    await process.rest(REST_S)
    await process.rest(0)
    assert state() is None
    await process.cancel()
    await waiting


async def test_one_that_takes_long_to_read_stays_longer(process: Process, version: str) -> None:
    await process.submit(version, LARGE)
    await process.rest(REST_S)

    async def take() -> None:
        process.clock.forward(REST_S)
        await process.executions.host.is_known(process.id)
        waiting = asyncio.create_task(process.executions.host.settled(process.id))
        await process.until_there()
        waiting.cancel()

    await process.memory.around(take)
    long_s = min(RESIDENCE * REST_S, LONGEST_REST_S)
    await process.rest(long_s - 0.5)
    assert process.is_there
    await process.rest(1)
    assert not process.is_there


async def test_a_small_one_stays(process: Process, version: str) -> None:
    await process.submit(version, SMALL)
    await process.rest(10 * REST_S)
    assert process.is_there
    process.bound.says = True
    await process.wake()
    await process.rest(10 * REST_S)
    assert process.is_there


async def test_while_too_much_is_taken_it_leaves_before_its_next_call(
    process: Process, version: str
) -> None:
    await process.submit(version, LARGE)
    process.bound.says = True
    assert not await process.finds_it_there()
    await process.cancel()
    assert process.executions.host.has_settled(process.id)


async def test_one_that_gave_way_stays_for_a_while_once_it_has_been_read_again(
    process: Process, version: str
) -> None:
    await process.submit(version, LARGE)
    process.bound.says = True
    assert not await process.finds_it_there()
    await process.wake()  # which reads it
    for _ in range(TURNS):  # each of many calls that follow finds it there
        assert await process.finds_it_there()
    process.clock.forward(REST_S)
    assert not await process.finds_it_there()


def test_it_stays_longer_than_one_that_has_ended_waits() -> None:
    assert REST_S > LINGER_S
