"""An owner that reads an execution of another owner keeps nothing of it, and writes nothing.

Dispatchers have calls for earlier processes of its name, which had other partitions.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Final

import pytest

from rillflow.ids import PARTITIONS, partition_of
from rillflow.ports.executions import Call, Reply, ResourceCall
from rillflow.ports.gateway import DispatchRequest
from rillflow.runtime.definitions.catalogue import add_descriptor
from rillflow.runtime.owner.execution_owner import ExecutionOwner
from rillflow.runtime.submission.intake import Options, Submissions
from rillflow.settings import Settings
from rillflow.stores.memory.store import MemoryStore
from tests.loopback import NOW_MS, ManualClock

FLOW: Final = """
workspace: moved
dagName: work
type: flow
tasks:
  - { name: call, category: function, pattern: task_async, resourceName: "http://127.0.0.1:1/" }
"""


class Owners:
    """Two owners, each of every second partition; nobody makes their calls."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore()
        self.owners = [
            ExecutionOwner(
                store=self.store,
                clock=self.clock,
                dispatcher=self,
                executions=self,
                callback_host="http://rillflow.test",
                partitions=range(index, PARTITIONS, 2),
            )
            for index in range(2)
        ]
        self.sent: list[DispatchRequest] = []

    def send(self, requests: Sequence[DispatchRequest]) -> None:
        self.sent += requests

    async def call(self, call: Call) -> Reply:
        [reply] = await self.owners[partition_of(call.execution_id) % 2].call_many([call])
        return reply

    async def ask_all(self, call: ResourceCall) -> list[Reply]:
        raise AssertionError(f"nobody asks {call}")


@pytest.fixture(name="owners")
async def _owners() -> AsyncIterator[Owners]:
    built = Owners()
    await built.store.open()
    for owner in built.owners:
        await owner.start()
    yield built
    for owner in built.owners:
        await owner.stop()


async def test_what_was_read_of_an_execution_of_another_owner_does_not_stay_in_memory(
    owners: Owners,
) -> None:
    await add_descriptor(owners.store, "moved", "work", "release", FLOW, at_ms=NOW_MS)
    submissions = Submissions(Settings(), store=owners.store, executions=owners, clock=owners.clock)
    execution_id = await submissions.submit("moved:work", b"", Options())
    own, other = sorted(owners.owners, key=lambda each: each.active, reverse=True)
    call = (execution_id, "call", 1, 0)
    for owner in (own, other):
        assert await owner.ended_calls([call]) == []
    assert (own.active, other.active) == (1, 0)
