"""A time that has passed is due at once, on the event loop of servers too.

uvloop makes a handle without a time for it, so nothing may ask a timer for its time.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from rillflow.gateways.limits.deadlines import Deadlines
from rillflow.runtime.aio.reused_timer import ReusedTimer

LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


class Call:
    """A call that waits."""

    def __init__(self) -> None:
        self.given_up = asyncio.Event()

    def done(self) -> bool:
        return self.given_up.is_set()

    def give_up(self) -> None:
        self.given_up.set()


async def _give_up() -> None:
    deadlines, now_s = Deadlines(), asyncio.get_running_loop().time()
    calls = [Call() for _ in range(4)]
    for call, late_s in zip(calls, (1, 2, 0, -0.01), strict=True):
        deadlines.add(now_s - late_s, call)
    async with asyncio.timeout(60):
        for call in calls:
            await call.given_up.wait()
    assert len(deadlines) == 0


async def _is_late() -> None:
    late = asyncio.Event()
    timer = ReusedTimer(late.set)
    for timeout_s in (0, -1, 60, 0):
        timer.begin(timeout_s)
    await asyncio.wait_for(late.wait(), 60)
    timer.close()


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("passes", [_give_up, _is_late])
def test_what_is_late_already_is_told_at_once(
    passes: Callable[[], Coroutine[Any, Any, None]], loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(passes())
