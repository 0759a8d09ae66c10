"""An owner with too many unfinished submissions refuses more of them, and takes all else."""

import asyncio
import os
from collections.abc import Sequence

from rillflow.ids import new_execution_id
from rillflow.ports.executions import Submission
from rillflow.ports.storage.store import Append
from rillflow.stores.memory.store import MemoryStore
from tests.api.definition_texts import PASS, SUSPENDED
from tests.api.serving import refusal_of, served
from tests.submissions import submission_event

SUBMIT = "/flow/submit.json"
TRIGGER = "/flow/trigger.json"


class SlowStore(MemoryStore):
    """A store whose appends wait while it is held; it says when one does."""

    def __init__(self) -> None:
        super().__init__()
        self.free = asyncio.Event()
        self.free.set()
        self.waits = asyncio.Event()

    async def append(self, appends: Sequence[Append]) -> None:
        if not self.free.is_set():
            self.waits.set()
            await self.free.wait()
        await super().append(appends)


async def test_a_submission_too_many_is_refused_with_429_and_callbacks_are_taken() -> None:
    store = SlowStore()
    async with served(store=store, max_queued_submissions=1) as api:
        descriptor_id = await api.add(SUSPENDED)
        waiting = await api.submit(descriptor_id)
        store.free.clear()
        first = asyncio.create_task(api.submit(descriptor_id))
        await asyncio.wait_for(store.waits.wait(), 60)

        refused = await api.client.post(SUBMIT, params={"descriptor_id": descriptor_id}, json={})
        assert refusal_of(refused)[:2] == (429, 30201)
        assert "try again later" in refused.json()["error"]
        assert refused.headers["Retry-After"] == "1"

        store.waits.clear()
        callback = asyncio.create_task(
            api.post(TRIGGER, {"go": True}, execution_id=waiting, task_name="wait")
        )
        await asyncio.wait_for(store.waits.wait(), 60)
        store.free.set()
        assert (await callback)["result"] == "ok"
        assert (await api.ended(waiting))["dag_status"] == "SUCCEED"
        assert await first
        assert await api.submit(descriptor_id), "there is room again"


def _submission(definition_id: str) -> Submission:
    execution_id = new_execution_id("shop", "order", at_ms=1, entropy=os.urandom(10))
    event = submission_event(execution_id, definition_id)
    return Submission(business="shop", feature="order", event=event)


async def test_a_submission_that_is_sent_again_is_answered_however_many_wait() -> None:
    store = SlowStore()
    async with served(store=store, max_queued_submissions=1) as api:
        executions, added = api.stack.executions, await api.add(SUSPENDED)
        version = added.rpartition(":")[2].removeprefix("md5_")
        durable, under_way = _submission(version), _submission(version)
        assert (await executions.call(durable)).error is None
        store.free.clear()
        first = asyncio.create_task(executions.call(under_way))
        await asyncio.wait_for(store.waits.wait(), 60)

        assert (await executions.call(durable)).error is None
        again = asyncio.create_task(executions.call(under_way))
        assert (await executions.call(_submission(version))).http_status == 429
        assert not again.done(), "its answer comes when it is durable"
        store.free.set()
        assert [(await each).error for each in (first, again)] == [None, None]


async def test_submissions_below_the_limit_are_taken_however_many_went_before() -> None:
    async with served(max_queued_submissions=1) as api:
        descriptor_id = await api.add(PASS)
        for _ in range(20):
            await api.submit(descriptor_id)
