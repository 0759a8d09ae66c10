"""An owner on which one workspace has many long events runs the short executions of another.

A run passes through the loop of an owner several times: its submission, its row in the store, its
end and the news of it. It waits for about one long event in all, not for one each time.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from rillflow.ids import workspace_of
from rillflow.ports.executions import Call
from rillflow.runtime.aio.fair_turns import TURN_S, FairTurns, Handled
from rillflow.runtime.definitions.catalogue import add_descriptor
from rillflow.runtime.local import LocalExecutions
from rillflow.runtime.process.clock import SystemClock
from rillflow.runtime.submission.intake import Options, Submissions
from rillflow.settings import Settings
from rillflow.stores.memory.store import MemoryStore
from tests.machine_speed import least
from tests.turns import LONGEST_MS, measured_turns

RUNS: Final = 5
GREEDY: Final = 6
SUBFLOWS: Final = 990
PARENTS: Final = 3
LONG_S: Final = 120.0
HEAD: Final = "{{workspace: {}, dagName: work, type: flow, tasks: [{}]}}"
PASS: Final = "{name: p, category: pass}"
EACH: Final = """{name: e, category: foreach, iterationMapping: {collection: $.input.l, item: x},
inputMappings: [{source: $.context.l, target: $.input.l}], tasks: [%s]}"""
WAITS: Final = '{name: s, category: suspense, conditions: ["$.input.[?(@.never==1)]"]}'
STARTS: Final = (
    '{name: f, category: function, pattern: flow_sync, resourceName: "rillflow://small:work"}'
)


class Nowhere:
    """There is no function."""

    async def close(self) -> None:
        """Nothing is open."""


class House:
    """An owner of all executions, and what submits to it."""

    def __init__(self, turns: FairTurns | None = None, **settings: Any) -> None:
        self._store = MemoryStore()
        nowhere: Any = Nowhere()
        self.executions = LocalExecutions(
            store=self._store, gateway=nowhere, clock=SystemClock(), turns=turns
        )
        self._submissions = Submissions(
            Settings(**settings),
            store=self._store,
            executions=self.executions,
            clock=SystemClock(),
        )

    @asynccontextmanager
    async def running(self, **flows: str) -> AsyncIterator["House"]:
        await self._store.open()
        for workspace, tasks in flows.items():
            text = HEAD.format(workspace, tasks)
            await add_descriptor(self._store, workspace, "work", "release", text, at_ms=1)
        await self.executions.start()
        try:
            yield self
        finally:
            await self.executions.stop()

    async def submit(self, workspace: str, items: int = 0) -> str:
        data = json.dumps({"l": list(range(items))}).encode()
        return await self._submissions.submit(f"{workspace}:work", data, Options())

    async def run(self, workspace: str) -> None:
        execution_id = await self.submit(workspace)
        assert await self.executions.wait(execution_id, LONG_S)


class LongEvents(FairTurns):
    """Counts the events of the workspace whose events are long, by a clock that only they move."""

    def __init__(self) -> None:
        super().__init__(cpu_s=self._now_s, clock_s=self._now_s)
        self.count = 0

    def take(
        self, calls: Sequence[Call], handle: Callable[[Call], Handled], *, whole: bool
    ) -> list[Handled]:
        def counted(call: Call) -> Handled:
            self.count += workspace_of(call.execution_id) == "greedy"
            return handle(call)

        return super().take(calls, counted, whole=whole)

    def _now_s(self) -> float:
        return self.count * TURN_S


async def test_a_run_waits_for_a_long_event_or_two() -> None:
    events = LongEvents()
    house = House(events, turn_max_task_steps=20)
    async with house.running(greedy=EACH % WAITS, small=PASS):
        await house.run("small")
        await asyncio.gather(*(house.submit("greedy", 400) for _ in range(GREEDY)))
        waited: list[int] = []
        for _ in range(RUNS):
            before = events.count
            await house.run("small")
            waited.append(events.count - before)
        assert events.count < GREEDY * 400 // 20, "they were over before"
    assert sorted(waited)[RUNS // 2] <= 1, waited
    assert max(waited) <= 3, waited


async def _longest_ms() -> float:
    house = House()
    async with house.running(greedy=EACH % STARTS, small=PASS):
        await house.run("small")
        with measured_turns() as turns:
            asked = (house.submit("greedy", SUBFLOWS) for _ in range(PARENTS))
            parents = await asyncio.gather(*asked)
            for parent in parents:
                assert await house.executions.wait(parent, LONG_S)
        return turns.take()


def test_sub_flows_that_one_event_starts_hold_the_loop_for_no_longer_than_a_portion() -> None:
    assert least(lambda: asyncio.run(_longest_ms()), LONGEST_MS) < LONGEST_MS
