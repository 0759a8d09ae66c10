"""The home of a dedicated execution leaves when the end is on disk, and not before."""

import asyncio
from collections.abc import Sequence
from typing import Final

from rillflow.core.events import ExecutionSubmitted
from rillflow.ids import new_execution_id
from rillflow.ports.executions import Submission
from rillflow.ports.store import Append
from rillflow.runtime.descriptors import add_descriptor
from rillflow.runtime.local import LocalExecutions
from rillflow.stores.memory import MemoryStore
from tests.loopback import NOW_MS, ManualClock, gateway

PASS: Final = """
workspace: shop
dagName: order
type: flow
tasks: [{ name: one, category: pass }]
"""


class HeldStore(MemoryStore):
    """A store whose appends wait until they are let go on."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = asyncio.Event()
        self.goes_on = asyncio.Event()

    async def append(self, appends: Sequence[Append]) -> None:
        self.reached.set()
        await self.goes_on.wait()
        await super().append(appends)


async def test_an_end_that_is_not_on_disk_is_none() -> None:
    store = HeldStore()
    await store.open()
    version = (await add_descriptor(store, "shop", "order", "release", PASS, at_ms=1)).version
    async with gateway() as calls:
        executions = LocalExecutions(store=store, gateway=calls, clock=ManualClock())
        await executions.start()
        execution_id = new_execution_id("shop", "order", at_ms=NOW_MS, entropy=bytes(10))
        event = ExecutionSubmitted(
            at_ms=NOW_MS,
            execution_id=execution_id,
            definition_id=version or "",
            data=b"{}",
            host="http://here",
        )
        submission = Submission(business="shop", feature="order", event=event)
        submitting = asyncio.create_task(executions.call(submission))
        await store.reached.wait()
        assert executions.host.knows(execution_id)
        assert not executions.host.has_settled(execution_id)
        store.goes_on.set()
        assert (await submitting).error is None
        assert executions.host.has_settled(execution_id)
        await executions.stop()
    await store.close()
