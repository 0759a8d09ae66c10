"""The owner of a dedicated execution leaves when the end is on disk, and not before."""

import asyncio
from collections.abc import Sequence
from typing import Final

import pytest

from rillflow.errors import StoreError
from rillflow.ids import ExecutionId, new_execution_id
from rillflow.ports.executions import Submission
from rillflow.ports.storage.store import Append, StoredExecution
from rillflow.runtime.definitions.catalogue import add_descriptor
from rillflow.runtime.local import LocalExecutions
from rillflow.runtime.process.clock import SystemClock
from rillflow.runtime.submission.intake import Options, Submissions
from rillflow.settings import Settings
from rillflow.stores.memory.store import MemoryStore
from tests.loopback import NOW_MS, GatedFunction, ManualClock, gateway
from tests.submissions import submission_event

LONG_S: Final = 20
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
        event = submission_event(execution_id, version or "", at_ms=NOW_MS)
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


# -- an end whose append seems to have failed --------------------------------------------

CALL: Final = """
workspace: shop
dagName: order
type: flow
tasks:
  - { name: one, category: function, pattern: task_sync, resourceName: "http://127.0.0.1:1/one" }
"""
TOLD: Final = CALL + 'callback: { resourceName: "http://127.0.0.1:1/told" }\n'
OVER: Final = "succeed"


class CutStore(MemoryStore):
    """A store whose connection is cut once, by the append of an end, until it is mended."""

    def __init__(self, *, cut_at_close: bool, is_written: bool) -> None:
        super().__init__()
        self._cut_at_close = cut_at_close
        self._is_written = is_written
        self.cut, self.mended = asyncio.Event(), asyncio.Event()

    async def append(self, appends: Sequence[Append]) -> None:
        if not self.cut.is_set() and any(map(self._is_meant, appends)):
            if self._is_written:
                await super().append(appends)
            self.cut.set()
        if self.cut.is_set() and not self.mended.is_set():
            raise StoreError("the connection was cut")
        await super().append(appends)

    async def load(
        self, execution_id: ExecutionId, most_bytes: int | None = None
    ) -> StoredExecution | None:
        if self.cut.is_set() and not self.mended.is_set():
            raise StoreError("the connection is cut")
        return await super().load(execution_id, most_bytes)

    def _is_meant(self, append: Append) -> bool:
        is_over = append.status == OVER or (append.closing is not None and not append.new)
        return append.closing is not None if self._cut_at_close else is_over


@pytest.mark.parametrize("is_written", [True, False])
@pytest.mark.parametrize(
    ("flow", "cut_at_close"),
    [(CALL, True), (TOLD, True), (TOLD, False)],
    ids=["end and close", "close", "end"],
)
async def test_an_end_whose_acknowledgement_was_lost_is_told_once_it_is_known(
    flow: str, *, cut_at_close: bool, is_written: bool
) -> None:
    store, function = CutStore(cut_at_close=cut_at_close, is_written=is_written), GatedFunction()
    await store.open()
    await add_descriptor(store, "shop", "order", "release", flow, at_ms=1)
    life = LocalExecutions(store=store, gateway=function, clock=SystemClock())
    await life.start()
    submissions = Submissions(Settings(), store=store, executions=life, clock=SystemClock())
    async with asyncio.timeout(LONG_S):
        execution_id = await submissions.submit("shop:order", b"{}", Options())
        await function.called.get()
        settled = asyncio.create_task(life.host.settled(execution_id))
        seen = asyncio.create_task(life.wait(execution_id, LONG_S))
        await _give_way()
        function.answers.set()
        await store.cut.wait()
        await _give_way()
        assert not settled.done()
        if flow is TOLD and cut_at_close:
            assert await seen  # It had ended before it was closed, and that was acknowledged.
        else:
            assert not seen.done()
        store.mended.set()
        assert await seen
        stored = await store.load(execution_id)
        assert stored is not None
        assert stored.status == OVER
        await settled
        assert life.host.has_settled(execution_id)
    await life.stop()
    await store.close()


async def _give_way() -> None:
    for _ in range(50):
        await asyncio.sleep(0)
