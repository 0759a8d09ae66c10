"""One timer serves what begins and ends often, and tells of what has lasted too long."""

import asyncio

from rillflow.runtime.aio.reused_timer import ReusedTimer

SHORT_S = 0.02


async def test_what_lasts_for_its_timeout_is_told_of_once() -> None:
    late = asyncio.Event()
    calls: list[None] = []

    def tell() -> None:
        calls.append(None)
        late.set()

    timer = ReusedTimer(tell)
    timer.begin(SHORT_S)
    await asyncio.wait_for(late.wait(), 60)
    assert len(calls) == 1
    timer.close()


async def test_what_begins_anew_has_its_whole_timeout() -> None:
    loop = asyncio.get_running_loop()
    late: asyncio.Future[float] = loop.create_future()
    timer = ReusedTimer(lambda: late.set_result(loop.time()))
    timer.begin(SHORT_S)
    timer.end()
    half = asyncio.Event()
    loop.call_later(SHORT_S / 2, half.set)
    await half.wait()
    begun_s = loop.time()
    timer.begin(SHORT_S)
    assert await asyncio.wait_for(late, 60) - begun_s >= SHORT_S
    timer.close()


async def test_what_ended_in_time_or_was_closed_is_told_of_never() -> None:
    late: list[int] = []
    ended, closed = ReusedTimer(lambda: late.append(1)), ReusedTimer(lambda: late.append(2))
    last = asyncio.Event()
    after = ReusedTimer(last.set)
    for timer in (ended, closed):
        timer.begin(SHORT_S)
    ended.end()
    closed.close()
    after.begin(2 * SHORT_S)  # its timer is due after those of both
    await asyncio.wait_for(last.wait(), 60)
    assert not late
    after.close()


async def test_a_shorter_timeout_than_the_one_before_is_kept() -> None:
    late = asyncio.Event()
    timer = ReusedTimer(late.set)
    timer.begin(3_600)
    timer.end()
    timer.begin(SHORT_S)
    await asyncio.wait_for(late.wait(), 60)
    timer.close()
