"""The owner answers a call once it is durable, and carries out its commands right after."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final

import pytest

from rillflow.core.events import DispatchAnswered
from rillflow.errors import StoreError
from rillflow.ids import PARTITIONS, ExecutionId, new_execution_id
from rillflow.ports.executions import Call, Delivery, Query, Reply, ResourceCall, Submission
from rillflow.ports.gateway import DispatchRequest
from rillflow.ports.storage.store import Append
from rillflow.runtime.definitions.catalogue import add_descriptor
from rillflow.runtime.owner.execution_owner import ExecutionOwner, OwnerLimits
from rillflow.runtime.process.clock import SystemClock
from rillflow.stores.memory.store import MemoryStore
from tests.loopback import NOW_MS
from tests.submissions import submission_event

FLOW: Final = """
workspace: shop
dagName: order
type: flow
tasks:
  - { name: one, category: function, resourceName: http://a.test/1, pattern: task_sync, next: two }
  - { name: two, category: function, resourceName: http://a.test/2, pattern: task_sync }
"""


class FailingStore(MemoryStore):
    """Writes nothing while it ``fails``."""

    fails = False

    async def append(self, appends: Sequence[Append]) -> None:
        if self.fails:
            raise StoreError("no room")
        await super().append(appends)


class Shop:
    """An owner that keeps one execution in memory, and what it has sent."""

    def __init__(self) -> None:
        self.store = FailingStore()
        self.sent: list[str] = []
        self.version = ""
        self.owner = ExecutionOwner(
            store=self.store,
            clock=SystemClock(),
            dispatcher=self,
            executions=self,
            callback_host="http://here",
            partitions=range(PARTITIONS),
            limits=OwnerLimits(most_hot=1),
        )

    async def start(self) -> None:
        await self.store.open()
        added = await add_descriptor(self.store, "shop", "order", "release", FLOW, at_ms=NOW_MS)
        self.version = added.version or ""
        await self.owner.start()

    def send(self, requests: Sequence[DispatchRequest]) -> None:
        self.sent += [request.task for request in requests]

    async def call(self, call: Call) -> Reply:
        [reply] = await self.owner.call_many([call])
        return reply

    async def ask_all(self, call: ResourceCall) -> list[Reply]:
        return [await self.call(call)]

    def submission(self, number: int) -> Submission:
        event = submission_event(id_of(number), self.version, at_ms=NOW_MS)
        return Submission(business="shop", feature="order", event=event)


def id_of(number: int) -> ExecutionId:
    return new_execution_id("shop", "order", at_ms=NOW_MS, entropy=number.to_bytes(10))


def answer(number: int) -> Delivery:
    event = DispatchAnswered(at_ms=NOW_MS, task="one", attempt=1, body=b"{}")
    return Delivery(execution_id=id_of(number), event=event)


@pytest.fixture(name="shop")
async def _shop() -> AsyncIterator[Shop]:
    shop = Shop()
    await shop.start()
    yield shop
    await shop.owner.stop()
    await shop.store.close()


async def test_no_command_is_carried_out_before_the_answer(shop: Shop) -> None:
    assert (await shop.call(shop.submission(1))).error is None
    assert shop.sent == []


async def test_the_commands_follow_in_the_next_turn_of_the_loop(shop: Shop) -> None:
    await shop.call(shop.submission(1))
    await asyncio.sleep(0)
    assert shop.sent == ["one"]


async def test_commands_keep_the_order_of_the_events(shop: Shop) -> None:
    await shop.call(shop.submission(1))
    await shop.call(answer(1))
    await asyncio.sleep(0)
    assert shop.sent == ["one", "two"]


async def test_what_could_not_be_written_has_no_commands(shop: Shop) -> None:
    shop.store.fails = True
    assert (await shop.call(shop.submission(1))).kind == StoreError.code
    await asyncio.sleep(0)
    assert shop.sent == []


async def test_an_execution_stays_in_memory_until_its_commands_are_carried_out(shop: Shop) -> None:
    await shop.owner.call_many([shop.submission(number) for number in range(5)])
    assert all(shop.owner.knows(id_of(number)) for number in range(5))
    await asyncio.sleep(0)
    assert shop.sent == ["one"] * 5
    assert not all(shop.owner.knows(id_of(number)) for number in range(5))


async def test_what_reads_the_state_is_answered_after_its_commands(shop: Shop) -> None:
    _, reply = await shop.owner.call_many(
        [shop.submission(1), Query(execution_id=id_of(1), kind="execution")]
    )
    assert reply.body
    assert shop.sent == ["one"]
