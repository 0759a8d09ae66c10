"""One deployment holds a store; another is refused, told how to take over, or takes what lapsed."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from rillflow.errors import StoreError
from rillflow.ports.storage.lease import DeploymentName, Lease
from rillflow.ports.storage.store import Store
from rillflow.runtime.supervision.store_lease import StoreLease, lost_to
from rillflow.stores import open_store
from rillflow.stores.memory.store import MemoryStore

LAPSES_S = 0.3


@pytest.fixture(name="store")
async def _store() -> AsyncIterator[Store]:
    store = open_store("memory:")
    await store.open()
    yield store
    await store.close()


@pytest.fixture(name="renewed")
async def _renewed() -> AsyncIterator["Renewed"]:
    renewed = Renewed()
    await renewed.open()
    yield renewed
    await renewed.close()


def _lease(store: Store, holder: str) -> StoreLease:
    return StoreLease(
        store, DeploymentName(holder, f"at {holder}"), lapses_s=LAPSES_S, patience_s=2.0
    )


class Renewed(MemoryStore):
    """A store whose holder renews the lease whenever somebody looks, until it is asked to end.

    Attributes:
        one: The holder; ``asked`` is set once another deployment has asked for the store.
    """

    def __init__(self) -> None:
        super().__init__()
        self.one = StoreLease(self, DeploymentName("one", "at one"))
        self.asked = asyncio.Event()
        self._renews = False

    async def lease(self) -> Lease | None:
        held = await super().lease()
        if held is not None and held.successor:
            self.asked.set()
        elif held is not None and not self._renews:
            self._renews = True
            held = await self.one.renew()
            self._renews = False
        return held

    async def set_lease(self, lease: Lease, *, renews: bool) -> bool:
        before, self._renews = self._renews, True
        try:
            return await super().set_lease(lease, renews=renews)
        finally:
            self._renews = before


async def test_the_first_deployment_gets_the_lease_and_each_of_its_processes_renews_it(
    store: Store,
) -> None:
    assert await _lease(store, "one").acquire()
    assert not await _lease(store, "one").acquire()
    held = await store.lease()
    assert held is not None
    assert (held.holder, held.turn) == ("one", 2)


async def test_each_process_leaves_a_mark_that_renewals_keep(store: Store) -> None:
    first, second = _lease(store, "one"), _lease(store, "one")
    await first.acquire()
    await second.acquire()
    await first.renew()
    held = await store.lease()
    assert held is not None
    assert held.mark == second.mark
    assert second.mark not in ("", first.mark)


async def test_another_deployment_is_told_who_holds_the_store_and_how_to_take_over(
    renewed: Renewed,
) -> None:
    await renewed.one.acquire()
    with pytest.raises(StoreError) as refused:
        await _lease(renewed, "two").acquire()
    held = await renewed.lease()
    assert held is not None
    assert held.holder == "one"
    said = str(refused.value)
    assert said.startswith("the store is held by at one, since 2")
    assert said.endswith(f"RILLFLOW_TAKE_OVER={held.id}")


async def test_the_lease_of_a_deployment_that_has_died_lapses(store: Store) -> None:
    one = _lease(store, "one")
    await one.acquire()
    assert await _lease(store, "two").acquire()
    held = await one.renew()
    assert not one.holds(held)
    assert lost_to(held).startswith("the store is held by at two, since ")


async def test_whoever_starts_again_at_the_same_place_does_not_wait(renewed: Renewed) -> None:
    await renewed.one.acquire()
    again = StoreLease(renewed, DeploymentName("another cluster", "at one"), patience_s=0.0)
    assert await again.acquire()
    assert not renewed.one.holds(await renewed.one.renew())


async def test_a_takeover_waits_until_the_holder_has_given_the_store_up(renewed: Renewed) -> None:
    one, two = renewed.one, _lease(renewed, "two")
    await one.acquire()
    first = await renewed.lease()
    assert first is not None
    taking = asyncio.create_task(two.acquire(first.id))
    await renewed.asked.wait()
    asked = await one.renew()
    assert asked.successor == "at two"
    assert one.holds(asked)
    assert not taking.done()
    await one.give_up()
    assert await taking
    held = await renewed.lease()
    assert held is not None
    assert (held.holder, held.successor) == ("two", "")
    assert held.id != first.id
    assert not one.holds(await one.renew())


async def test_a_takeover_names_the_lease_that_it_ends_and_no_later_one(renewed: Renewed) -> None:
    await renewed.one.acquire()
    with pytest.raises(StoreError, match="RILLFLOW_TAKE_OVER"):
        await _lease(renewed, "two").acquire("an earlier one")
    assert not renewed.asked.is_set()


async def test_a_lease_that_was_given_up_is_taken_at_once(store: Store) -> None:
    one = _lease(store, "one")
    await one.acquire()
    await one.give_up()
    await one.give_up()
    assert await _lease(store, "two").acquire()


async def test_a_lease_that_a_restored_store_has_lost_is_taken_again(store: Store) -> None:
    one = _lease(store, "one")
    assert one.holds(await one.renew())
