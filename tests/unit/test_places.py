"""One sender has a part of the places for work that takes long, and waits a while for one."""

import asyncio

import pytest

from rillflow.errors import OverloadedError
from serve.limits.places import ALONE_S, MOST_WAITING, SLOW_BYTES_PER_S, Places

LONG_S = 60.0


async def test_one_owner_leaves_places_to_others() -> None:
    places = Places(4, 2, "stored")
    for _ in range(2):
        await places.take(("a", "b"))
    for owners in (("a",), ("b", "c")):
        with pytest.raises(OverloadedError, match="too many artifacts are being stored"):
            await places.take(owners, wait_s=0)
    for _ in range(2):
        await places.take(("c",), wait_s=0)
    with pytest.raises(OverloadedError):
        await places.take((), wait_s=0)


async def test_a_workspace_leaves_half_of_the_places_to_others() -> None:
    places = Places(8, 2, "stored")
    for number in range(4):
        await places.take((f"execution {number}", "workspace a"), wait_s=0)
    with pytest.raises(OverloadedError):
        await places.take(("execution 5", "workspace a"), wait_s=0)
    await places.take(("execution 6", "workspace b"), wait_s=0)


async def test_slow_work_that_has_taken_long_gives_way_to_who_has_no_place() -> None:
    now_s = 0.0
    places = Places(8, 2, "stored", now_s=lambda: now_s)

    async def work(number: int, rate: int) -> int:
        owners = (f"execution {number}", "workspace a")
        await places.take(owners, wait_s=0)
        begun.release()
        with places.slow_work(owners) as work:
            while not work.gives_way:
                work.moved_bytes = int(now_s * rate)
                await asyncio.sleep(0)
        places.free(owners)
        return number

    begun = asyncio.Semaphore(0)
    rates = [SLOW_BYTES_PER_S // 2, SLOW_BYTES_PER_S // 3, 2 * SLOW_BYTES_PER_S, SLOW_BYTES_PER_S]
    slow = [asyncio.create_task(work(number, rate)) for number, rate in enumerate(rates)]
    for _ in slow:
        await begun.acquire()
    now_s = ALONE_S
    with pytest.raises(OverloadedError):
        await places.take(("execution 5", "workspace a"), wait_s=1.5)
    now_s += 1
    async with asyncio.timeout(LONG_S):
        await places.take(("execution 5", "workspace a"), wait_s=LONG_S)
        assert await slow[1] == 1
    assert not any(each.done() for each in slow if each is not slow[1])
    # Who has a place waits for another one as long as that takes.
    with pytest.raises(OverloadedError):
        await places.take(("execution 5", "workspace a"), wait_s=1.5)
    for each in slow:
        each.cancel()
    await asyncio.gather(*slow, return_exceptions=True)


async def test_a_workspace_leaves_room_to_others_that_wait() -> None:
    places = Places(2, 1, "stored")
    await places.take(("execution a", "workspace a"))
    waiting = [
        asyncio.create_task(places.take((f"execution {number}", "workspace a")))
        for number in range(MOST_WAITING // 2)
    ]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError):
        await places.take(("execution b", "workspace a"))
    await places.take(("execution c", "workspace b"))
    others = asyncio.create_task(places.take(("execution d", "workspace b")))
    await asyncio.sleep(0)
    assert not others.done()
    for each in (*waiting, others):
        each.cancel()
    await asyncio.gather(*waiting, others, return_exceptions=True)
    places.free(("execution a", "workspace a"))
    await places.take(("execution a", "workspace a"), wait_s=0)


async def test_some_leave_places_to_others() -> None:
    places = Places(4, 4, "fetched")
    for _ in range(3):
        await places.take(("key a",), wait_s=0, leaves=1)
    with pytest.raises(OverloadedError):
        await places.take(("key b",), wait_s=0, leaves=1)
    await places.take(("address a",), wait_s=0)


async def test_who_waits_gets_the_place_that_becomes_free() -> None:
    places = Places(4, 1, "stored")
    await places.take(("a",))
    second = asyncio.create_task(places.take(("a",)))
    await asyncio.sleep(0)
    assert not second.done()
    places.free(("a",))
    await second
    with pytest.raises(OverloadedError):
        await places.take(("a",), wait_s=0)
    places.free(("a",))
    await places.take(("a",), wait_s=0)


async def test_a_bounded_number_waits() -> None:
    places = Places(1, 1, "stored")
    await places.take(())
    waiting = [asyncio.create_task(places.take(())) for _ in range(MOST_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError):
        await places.take(())
    for each in waiting:
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    places.free(())
    await places.take((), wait_s=0)
