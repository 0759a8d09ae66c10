"""An owner that has been replaced refuses nothing for what it remembers: it may know too little."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

import pytest

from rillflow.core.events import WakeUpReceived
from rillflow.errors import StoreError
from rillflow.ids import ExecutionId, new_execution_id
from rillflow.ports.executions import Delivery, Reply, Submission
from rillflow.runtime.definitions.catalogue import add_descriptor
from rillflow.runtime.endpoints.owner_endpoint import AnswerGate
from rillflow.runtime.local import LocalExecutions
from rillflow.stores.memory.store import MemoryStore
from tests.loopback import NOW_MS, GatedFunction, ManualClock
from tests.submissions import submission_event

FLOW: Final = """
workspace: stale
dagName: owner
type: flow
tasks:
  - name: gate
    category: suspense
    inputMappings: [{ source: $.context.go, target: $.input.go }]
    outputMappings: [{ source: $.output.go, target: $.context.go }]
    conditions: ["$.input.[?(@.go == true)]"]
    next: each
  - name: each
    category: foreach
    iterationMapping: { collection: $.input.items, item: item }
    inputMappings: [{ source: "[1]", target: $.input.items }]
    tasks: [{ name: inner, category: suspense, conditions: ["$.input.[?(@.enough == true)]"] }]
"""
INNER: Final = "each_0-inner"


class Owners:
    """An owner, and the one that takes its place while it stands still."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.gate = AnswerGate()
        self.old, self.new = (
            LocalExecutions(
                store=self.store,
                gateway=GatedFunction(),
                clock=ManualClock(),
                on_fenced=on_fenced,
            )
            for on_fenced in (self.gate.close, lambda: None)
        )

    async def submit(self) -> ExecutionId:
        added = await add_descriptor(self.store, "stale", "owner", "release", FLOW, at_ms=NOW_MS)
        execution_id = new_execution_id("stale", "owner", at_ms=NOW_MS, entropy=bytes(10))
        event = submission_event(execution_id, added.version or "", at_ms=NOW_MS)
        submission = Submission(business="stale", feature="owner", event=event)
        (await self.old.call(submission)).raise_for_error()
        return execution_id


async def wake(owner: LocalExecutions, execution_id: ExecutionId, task: str) -> Reply:
    event = WakeUpReceived(at_ms=NOW_MS, task=task, data=b'{"go":true}')
    return await owner.call(Delivery(execution_id=execution_id, event=event))


@pytest.fixture(name="owners")
async def _owners() -> AsyncIterator[Owners]:
    owners = Owners()
    await owners.store.open()
    await owners.old.start()
    yield owners
    await owners.new.stop()
    await owners.old.stop()
    await owners.store.close()


async def test_what_it_does_not_know_of_is_not_refused(owners: Owners) -> None:
    execution_id = await owners.submit()
    await owners.new.start()
    assert (await wake(owners.new, execution_id, "gate")).changed

    reply = await wake(owners.old, execution_id, INNER)

    assert reply.error is not None
    assert reply.is_unanswered, "whoever asked asks the new owner"
    assert (await wake(owners.new, execution_id, INNER)).changed


async def test_the_owner_refuses_what_there_is_not(owners: Owners) -> None:
    execution_id = await owners.submit()

    reply = await wake(owners.old, execution_id, INNER)

    assert reply.error is not None
    assert not reply.is_unanswered
    await owners.new.start()


async def test_whoever_asks_a_replaced_owner_is_not_answered(owners: Owners) -> None:
    execution_id = await owners.submit()
    await owners.new.start()

    first = asyncio.create_task(
        owners.gate.through(lambda: wake(owners.old, execution_id, "gate")), name="first"
    )
    while not owners.gate.is_closed:
        await asyncio.wait({first}, timeout=0.01)
        assert not first.done(), "its error would be final for a caller that does not repeat"
    later = asyncio.create_task(
        owners.gate.through(lambda: wake(owners.old, execution_id, "gate")), name="later"
    )

    await asyncio.wait({first, later}, timeout=0.05)
    assert not first.done()
    assert not later.done()
    for task in (first, later):
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert (await wake(owners.new, execution_id, "gate")).changed


async def test_an_owner_that_was_not_replaced_answers_and_refuses(owners: Owners) -> None:
    execution_id = await owners.submit()

    reply = await owners.gate.through(lambda: wake(owners.old, execution_id, INNER))

    assert reply.error is not None
    assert not owners.gate.is_closed
    with pytest.raises(StoreError):
        await owners.gate.through(_fail)


async def _fail() -> None:
    raise StoreError("closed")
