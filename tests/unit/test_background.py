"""A turn of the event loop begins a few background tasks, of the workspaces in rotation."""

import asyncio
from itertools import pairwise
from typing import Final

from rillflow.ids import ExecutionId
from rillflow.runtime.aio.background import MOST_AT_ONCE, BackgroundTasks

MANY: Final = 1_000
GREEDY: Final = ExecutionId("greedy:flow_c_1")
OTHER: Final = ExecutionId("w:other_c_1")


class Begun:
    """Tasks, and the executions of those that have made their first step."""

    def __init__(self) -> None:
        self.tasks = BackgroundTasks(lambda *_: None)
        self.of: list[ExecutionId] = []
        self.goes_on = asyncio.Event()

    def begin(self, execution_id: ExecutionId) -> None:
        self.tasks.begin(execution_id, self._work(execution_id))

    async def _work(self, execution_id: ExecutionId) -> None:
        self.of.append(execution_id)
        await self.goes_on.wait()

    async def count_by_turn(self) -> list[int]:
        """Return how many had begun after each turn, until all have."""
        counts = [len(self.of)]
        while len(self.of) < len(self.tasks):
            await asyncio.sleep(0)
            counts.append(len(self.of))
        return counts


async def test_a_turn_begins_a_few() -> None:
    begun = Begun()
    for _ in range(MANY):
        begun.begin(GREEDY)
    assert len(begun.tasks) == MANY
    counts = await begun.count_by_turn()
    assert max(later - earlier for earlier, later in pairwise(counts)) <= MOST_AT_ONCE
    assert counts[-1] == MANY
    await begun.tasks.stop()


async def test_those_of_another_workspace_do_not_wait_for_all() -> None:
    begun = Begun()
    for _ in range(MANY):
        begun.begin(GREEDY)
    begun.begin(OTHER)
    await begun.count_by_turn()
    assert begun.of.index(OTHER) <= MOST_AT_ONCE + 1
    assert [each for each in begun.of if each != OTHER] == [GREEDY] * MANY
    await begun.tasks.stop()


async def test_those_that_wait_are_begun_before_an_end_in_peace() -> None:
    begun = Begun()
    for _ in range(MANY):
        begun.begin(GREEDY)
    begun.goes_on.set()
    await begun.tasks.finish(within_s=60)
    assert (len(begun.of), len(begun.tasks)) == (MANY, 0)


async def test_those_that_wait_are_dropped_by_a_stop() -> None:
    begun = Begun()
    for _ in range(MANY):
        begun.begin(GREEDY)
    await asyncio.sleep(0)
    await begun.tasks.stop()
    for _ in range(3):
        await asyncio.sleep(0)
    assert (len(begun.of), len(begun.tasks)) == (MOST_AT_ONCE, 0)
