"""Who submits does not wait for a store that is busy with the searches of others."""

import asyncio

import pytest

from rillflow.runtime.backpressure.quotas import FRESH_S, LONGEST_OLD_S, Totals
from tests.loopback import ManualClock

LONG_S = 60


class Scene:
    """A count that goes on when it is told to."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.goes_on = asyncio.Event()
        self.begun = 0
        self.count = 3
        self.totals = Totals(self.clock, self._count, LONG_S)

    async def _count(self, business: str) -> int:
        assert business == "shop"
        self.begun += 1
        await self.goes_on.wait()
        return self.count


@pytest.fixture
async def scene() -> Scene:
    """Return a scene whose store has counted once."""
    scene = Scene()
    scene.goes_on.set()
    assert await scene.totals.told("shop") == 3
    scene.goes_on.clear()
    return scene


async def test_what_was_counted_a_moment_ago_is_taken_while_the_store_is_slow(scene: Scene) -> None:
    scene.clock.forward(FRESH_S)
    scene.count = 5
    async with asyncio.timeout(LONG_S):
        assert await scene.totals.take("shop", 4)
        assert not await scene.totals.take("shop", 4), "what was taken since counts"
    assert scene.begun == 2, "one count is under way, however many wait"
    scene.goes_on.set()
    assert await scene.totals.told("shop") == 5


async def test_what_was_counted_long_ago_is_counted_anew_first(scene: Scene) -> None:
    scene.clock.forward(FRESH_S + LONGEST_OLD_S)
    scene.count = 5
    waiting = [asyncio.create_task(scene.totals.take("shop", most)) for most in (5, 6)]
    done, _ = await asyncio.wait(waiting, timeout=0.1)
    assert not done
    scene.goes_on.set()
    assert await asyncio.gather(*waiting) == [False, True]
    assert scene.begun == 2


async def test_a_count_goes_on_when_who_waited_for_it_has_left(scene: Scene) -> None:
    scene.clock.forward(FRESH_S + LONGEST_OLD_S)
    scene.count = 5
    left, waits = (asyncio.create_task(scene.totals.told("shop")) for _ in range(2))
    await asyncio.sleep(0)
    left.cancel()
    await asyncio.wait([left])
    scene.goes_on.set()
    assert await waits == 5
    assert scene.begun == 2
