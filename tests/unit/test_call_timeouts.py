"""The time-out of a call ends it like `asyncio.timeout`; one timer serves those of many calls."""

import asyncio

import pytest

from rillflow.gateways.limits.call_timeout import CallTimeout
from rillflow.gateways.limits.deadlines import Deadlines

SOON_S = 0.01
LATE_S = 3_600.0


async def waiting(limit: CallTimeout, in_s: float | None) -> None:
    loop = asyncio.get_running_loop()
    with limit:
        limit.reschedule(None if in_s is None else loop.time() + in_s)
        await loop.create_future()


async def test_a_call_whose_time_has_come_ends_with_a_time_out() -> None:
    limit = CallTimeout(Deadlines())

    with pytest.raises(TimeoutError):
        await waiting(limit, SOON_S)

    assert limit.expired()
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_a_time_that_is_put_off_does_not_come_before() -> None:
    loop, limit = asyncio.get_running_loop(), CallTimeout(Deadlines())
    with limit:
        limit.reschedule(loop.time())
        limit.reschedule(loop.time() + LATE_S)
        limit.give_up()
        limit.reschedule(None)
        limit.give_up()

    assert not limit.expired()


async def test_a_time_that_is_brought_forward_comes() -> None:
    loop, limit = asyncio.get_running_loop(), CallTimeout(Deadlines())
    task = asyncio.create_task(waiting(limit, LATE_S))
    await asyncio.sleep(0)

    limit.reschedule(loop.time())

    with pytest.raises(TimeoutError):
        await task


async def test_a_call_that_is_cancelled_in_time_is_cancelled() -> None:
    limit = CallTimeout(Deadlines())
    task = asyncio.create_task(waiting(limit, LATE_S))
    await asyncio.sleep(0)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert not limit.expired()


async def test_who_cancels_a_call_as_its_time_comes_is_told_so() -> None:
    limit = CallTimeout(Deadlines())
    task = asyncio.create_task(waiting(limit, LATE_S))
    await asyncio.sleep(0)
    limit.reschedule(asyncio.get_running_loop().time())

    limit.give_up()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert limit.expired()


async def test_another_error_of_a_call_stays_what_it_is() -> None:
    limit = CallTimeout(Deadlines())

    async def failing() -> None:
        with limit:
            limit.reschedule(asyncio.get_running_loop().time() + LATE_S)
            raise KeyError

    with pytest.raises(KeyError):
        await failing()


async def test_nothing_is_cancelled_once_a_call_has_ended() -> None:
    loop, limit = asyncio.get_running_loop(), CallTimeout(Deadlines())
    with limit:
        limit.reschedule(loop.time())

    limit.give_up()

    assert limit.done()
    assert not limit.expired()


async def test_calls_one_after_the_other_leave_few_deadlines_behind() -> None:
    loop, deadlines = asyncio.get_running_loop(), Deadlines()
    for _ in range(10_000):
        with CallTimeout(deadlines) as limit:
            limit.reschedule(loop.time() + LATE_S)

    assert len(deadlines) <= 1_000
    deadlines.close()
