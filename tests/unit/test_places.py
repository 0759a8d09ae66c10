"""One sender has a part of the places for work that takes long, and waits a while for one."""

import asyncio

import pytest

from rillflow.errors import OverloadedError
from serve.limits.places import MOST_WAITING, Places


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
