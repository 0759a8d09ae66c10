"""The pool remembers what was taken, and lets no answer wait long for those ahead of it.

A call whose answer was taken is not made again, for as long as an order could be late.
"""

import asyncio
from collections.abc import Sequence

from rillflow.errors import GoneError
from rillflow.gateways.limits.answer_budget import CallId
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest
from rillflow.runtime.dispatch.pool import DispatchPool
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


async def test_an_answer_waits_no_longer_for_a_batch_that_takes_long_to_be_taken() -> None:
    ahead, rest = asyncio.Event(), asyncio.Event()
    let_go = asyncio.Event()
    taken: list[int] = []

    async def take(answers: Sequence[DispatchAnswer]) -> None:
        if answers[0].attempt == 1:
            ahead.set()
            await let_go.wait()
        taken.extend(answer.attempt for answer in answers)
        if taken == [2, 3]:
            rest.set()

    pool = DispatchPool(Counting(), take)
    pool.send([attempt("http://f.test/x", attempt=1)])
    await ahead.wait()
    pool.send([attempt("http://f.test/x", attempt=number) for number in (2, 3)])
    await asyncio.wait_for(rest.wait(), 60)
    assert len(pool) == 1
    let_go.set()
    await pool.close()


async def test_a_call_is_settled_when_its_answer_is_durable_and_not_before() -> None:
    let_go, settled = asyncio.Event(), asyncio.Event()
    calls: list[int] = []

    async def take(answers: Sequence[DispatchAnswer]) -> None:
        await let_go.wait()
        if answers[0].attempt == 1:
            raise GoneError("nobody is left")

    def note(call: CallId) -> None:
        calls.append(call[2])
        settled.set()

    pool = DispatchPool(Counting(), take, settled=note)
    pool.send([attempt("http://f.test/x", attempt=1)])
    await asyncio.sleep(0)
    pool.send([attempt("http://f.test/x", attempt=2)])
    await asyncio.sleep(0)
    assert calls == []
    let_go.set()
    await asyncio.wait_for(settled.wait(), 60)
    await pool.close()
    assert calls == [2], "the first was not durable"
