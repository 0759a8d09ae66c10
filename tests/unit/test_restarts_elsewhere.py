"""An ended execution with an actor of its own is restarted there, however long the event takes."""

from collections.abc import Sequence
from itertools import count
from typing import Final

from rillflow.core.events import RedoRequested
from rillflow.ids import PARTITIONS, new_execution_id
from rillflow.ports.executions import ELSEWHERE, Delivery, Submission
from rillflow.ports.gateway import DispatchRequest
from rillflow.runtime.aio.fair_turns import FairTurns
from rillflow.runtime.definitions.catalogue import add_descriptor
from rillflow.runtime.owner.execution_owner import ExecutionOwner, OwnerLimits
from rillflow.runtime.process.clock import SystemClock
from rillflow.stores.memory.store import MemoryStore
from tests.own_executions import OwnExecutions
from tests.submissions import submission_event

WAITS_WHEN_REDONE: Final = """
workspace: long
dagName: work
type: flow
tasks:
  - name: wait
    category: suspense
    inputMappings:
      - source: $.context.go
        target: $.input.go
      - transform: "let i = 0; while i < 20000 { i = i + 1; } i"
        target: $.input.n
    conditions: ["$.input[?(@.go == 7)]"]
    next: last
  - name: last
    category: pass
    outputMappings: [{transform: "0", target: $.context.go}]
"""


class Home(OwnExecutions):
    """The owner of all partitions, for which each look at the clock takes longer than a turn."""

    def __init__(self, store: MemoryStore) -> None:
        looks = count()
        now_s = lambda: next(looks) * 0.05  # noqa: E731 - a clock
        self.owner = ExecutionOwner(
            store=store,
            clock=SystemClock(),
            dispatcher=self,
            executions=self,
            callback_host="http://rillflow.test",
            partitions=range(PARTITIONS),
            limits=OwnerLimits(),
            turns=FairTurns(cpu_s=now_s, clock_s=now_s),
        )

    def send(self, requests: Sequence[DispatchRequest]) -> None:
        raise AssertionError(requests)


async def test_its_home_sends_a_redo_there_although_it_was_interrupted() -> None:
    """It handles the event to see that, and then trusts the state no more."""
    store = MemoryStore()
    await store.open()
    added = await add_descriptor(store, "long", "work", "release", WAITS_WHEN_REDONE, at_ms=1)
    execution_id = new_execution_id("long", "work", at_ms=1, entropy=bytes(10), dedicated=True)
    event = submission_event(
        execution_id, added.version or "", data=b'{"go":7}', turn_max_steps=2_000_000
    )
    home = Home(store)
    await home.owner.start()
    await home.owner.recovered()
    submission = Submission(business="long", feature="work", event=event)
    (await home.call(submission)).raise_for_error()
    redo = RedoRequested(at_ms=3, tasks=("wait",))
    for _ in range(2):
        reply = await home.call(Delivery(execution_id=execution_id, event=redo))
        assert reply.kind == ELSEWHERE
    await home.owner.stop()
