"""A store keeps one lease, and of two that want it at once one gets it."""

import asyncio
from collections.abc import Callable

from msgspec.structs import replace

from rillflow.ports.storage.lease import Lease
from rillflow.ports.storage.store import Store

FIRST = Lease(id="a", holder="one", place="at one", since_ms=1_000, turn=1)
LONG_S = 0.3


async def _kept(store: Store) -> Lease:
    lease = await store.lease()
    assert lease is not None
    return replace(lease, silent_s=0.0)


async def test_there_is_no_lease_before_the_first(store: Store) -> None:
    assert await store.lease() is None


async def test_a_lease_follows_the_turn_that_is_stored(store: Store) -> None:
    assert not await store.set_lease(replace(FIRST, turn=2), renews=True)
    assert await store.set_lease(FIRST, renews=True)
    assert not await store.set_lease(replace(FIRST, holder="two"), renews=True)
    assert not await store.set_lease(replace(FIRST, turn=3), renews=True)
    assert await _kept(store) == FIRST
    second = replace(FIRST, id="b", holder="two", turn=2, successor="three")
    assert await store.set_lease(second, renews=True)
    assert await _kept(store) == second


async def test_of_several_that_want_the_next_turn_one_gets_it(store: Store) -> None:
    await store.set_lease(FIRST, renews=True)
    rivals = [replace(FIRST, holder=f"rival{number}", turn=2) for number in range(5)]
    taken = await asyncio.gather(*(store.set_lease(each, renews=True) for each in rivals))
    assert sum(taken) == 1
    assert await _kept(store) == rivals[taken.index(True)]


async def test_only_what_its_holder_writes_renews_a_lease(store: Store) -> None:
    await store.set_lease(FIRST, renews=True)
    while (first := await store.lease()) is None or first.silent_s < LONG_S:
        pass  # the time that is measured
    await store.set_lease(replace(FIRST, turn=2, successor="two"), renews=False)
    asked = await store.lease()
    assert asked is not None
    assert asked.silent_s >= LONG_S
    async with asyncio.timeout(60):  # reading may take longer than the lease was silent
        while True:
            await store.set_lease(replace(FIRST, turn=3), renews=True)
            renewed = await store.lease()
            assert renewed is not None
            if renewed.silent_s < asked.silent_s:
                break


async def test_a_lease_outlives_the_process(new_store: Callable[[], Store]) -> None:
    store = new_store()
    await store.open()
    await store.set_lease(FIRST, renews=True)
    await store.close()
    again = new_store()
    await again.open()
    assert await _kept(again) == FIRST
    await again.close()
