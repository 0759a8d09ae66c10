"""A snapshot that is written beside the event loop is that of the moment when it was ordered."""

import asyncio
from collections.abc import Sequence

from rillflow.core import machine
from rillflow.core.encoding import codec
from rillflow.core.events import CancelRequested
from rillflow.core.plan import Plan
from rillflow.ids import PARTITIONS, new_execution_id
from rillflow.ports.storage.store import Append
from rillflow.runtime.activation.active_execution import ActiveExecution, Stage
from rillflow.runtime.activation.eviction_writes import EvictionWrites
from rillflow.runtime.activation.journal import JournalRows, OwnerEpoch
from rillflow.runtime.definitions.catalogue import parse_stored
from rillflow.stores.memory.store import MemoryStore
from tests.submissions import submission_event

FLOW = """
workspace: a
dagName: f
type: flow
tasks:
  - name: one
    category: suspense
    conditions: ["$.input.never"]
"""


class SnapshotStore(MemoryStore):
    """A store that keeps the snapshot which is appended."""

    def __init__(self) -> None:
        super().__init__()
        self.appended = asyncio.get_running_loop().create_future()

    async def append(self, appends: Sequence[Append]) -> None:
        [append] = appends
        self.appended.set_result(append)


async def test_what_an_event_has_changed_before_the_task_began_is_not_in_it() -> None:
    """An event that takes long is interrupted, and counts once all of it has been handled.

    After its replay on a part of what it had done, what was left would never be done.
    """
    store, plan = SnapshotStore(), Plan(parse_stored(FLOW), "0" * 32)
    execution_id = new_execution_id("a", "f", at_ms=1, entropy=bytes(10))
    submitted = submission_event(execution_id, plan.definition_id)
    state, handled = machine.submit(plan, submitted)
    execution = ActiveExecution(plan, state, Stage.NEW)
    execution.note_event(codec.encode_event(submitted), handled)
    ownership = OwnerEpoch(store, range(PARTITIONS), None)
    await store.open()
    await ownership.take()
    writes = EvictionWrites(store, JournalRows(ownership), lambda *_: None)
    before = codec.encode_state(state)
    writes.write_snapshot(execution)
    machine.handle(plan, execution.state, CancelRequested(at_ms=2))  # which was not noted yet
    assert codec.encode_state(execution.state) != before
    append = await asyncio.wait_for(store.appended, 60.0)
    await writes.stop()
    assert append.snapshot_seq == 1
    assert codec.encode_state(codec.decode_state(append.snapshot)) == before
