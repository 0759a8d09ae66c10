"""A callback for a dedicated execution starts an actor only if the execution exists and runs."""

from collections.abc import AsyncIterator
from typing import Any, Final, cast

import pytest

from rillflow.core.events import CallbackReceived
from rillflow.ids import ExecutionId, new_execution_id
from rillflow.ports.executions import Call, Delivery, Reply, Submission
from rillflow.runtime.definitions.catalogue import add_descriptor
from rillflow.runtime.local import LocalExecutions
from rillflow.runtime.routing.router import ExecutionRouter, OwnerRef
from rillflow.stores.memory.store import MemoryStore
from tests.loopback import NOW_MS, GatedFunction, ManualClock
from tests.submissions import submission_event

FLOW: Final = """
workspace: shop
dagName: order
type: flow
tasks: [{ name: A, category: suspense, conditions: ["$.input.[?(@.go == true)]"] }]
"""
ID: Final = new_execution_id("shop", "order", at_ms=NOW_MS, entropy=bytes(10), dedicated=True)


class Cluster:
    """The owner of every partition, and actors of dedicated executions, none of which runs."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.owner = LocalExecutions(store=self.store, gateway=GatedFunction(), clock=ManualClock())
        self.started: list[ExecutionId] = []
        self.routes = ExecutionRouter([cast("OwnerRef", AsOwner(self.owner.call))], self)

    def find(self, _: ExecutionId) -> None:
        return None

    def spawn(self, execution_id: ExecutionId) -> OwnerRef:
        self.started.append(execution_id)
        return cast("OwnerRef", AsOwner(_taken))

    def forget(self, execution_id: ExecutionId) -> None:
        raise AssertionError(execution_id)

    async def callback(self) -> Reply:
        event = CallbackReceived(at_ms=NOW_MS, task="A", succeeded=True, trigger=True)
        return await self.routes.call(Delivery(execution_id=ID, event=event))


class AsOwner:
    """Takes calls as an owner does."""

    def __init__(self, ask: Any) -> None:
        self.ask = ask


async def _taken(_: Call) -> Reply:
    return Reply()


@pytest.fixture(name="cluster")
async def _cluster() -> AsyncIterator[Cluster]:
    cluster = Cluster()
    await cluster.store.open()
    await cluster.owner.start()
    yield cluster
    await cluster.owner.stop()
    await cluster.store.close()


async def test_an_execution_that_does_not_exist_starts_no_actor(cluster: Cluster) -> None:
    reply = await cluster.callback()
    assert reply.error is not None
    assert cluster.started == []


async def test_one_that_runs_gets_its_actor_back(cluster: Cluster) -> None:
    added = await add_descriptor(cluster.store, "shop", "order", "release", FLOW, at_ms=NOW_MS)
    event = submission_event(ID, added.version or "", at_ms=NOW_MS)
    submission = Submission(business="shop", feature="order", event=event)
    (await cluster.owner.call(submission)).raise_for_error()
    assert (await cluster.callback()).error is None
    assert cluster.started == [ID]
