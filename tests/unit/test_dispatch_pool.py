"""A call whose answer was taken is not made again, for as long as an order could be late."""

import asyncio
from collections.abc import Sequence

from rillflow.ports.gateway import DispatchAnswer, DispatchRequest
from rillflow.runtime.dispatch import DispatchPool
from tests.loopback import attempt

REMEMBERED = 3


class Counting:
    """A gateway that counts its calls by attempt."""

    def __init__(self) -> None:
        self.called: list[int] = []

    async def call(self, request: DispatchRequest) -> DispatchAnswer:
        self.called.append(request.attempt)
        return DispatchAnswer(
            execution_id=request.execution_id, task=request.task, attempt=request.attempt
        )

    async def close(self) -> None:
        """Nothing is open."""


async def test_the_latest_calls_are_remembered_and_the_earliest_forgotten() -> None:
    gateway, taken = Counting(), asyncio.Event()

    async def take(_: Sequence[DispatchAnswer]) -> None:
        taken.set()

    async def order(number: int) -> None:
        before = len(gateway.called)
        pool.send([attempt("http://f.test/x", attempt=number)])
        if len(pool):
            await taken.wait()
            taken.clear()
        ordered.append(len(gateway.called) > before)

    pool = DispatchPool(gateway, take, REMEMBERED)
    ordered: list[bool] = []
    for number in (*range(1, 8), *range(7, 7 - REMEMBERED, -1), 1):
        await order(number)
    await pool.close()
    assert ordered == [True] * 7 + [False] * REMEMBERED + [True]
