"""A store keeps one lease for each execution actor, which its latest process alone renews."""

from collections.abc import Callable

from rillflow.ports.storage.lease import OwnerLease
from rillflow.ports.storage.store import Store


async def test_there_is_no_lease_before_the_first(store: Store) -> None:
    assert await store.owner_leases() == []
    assert not await store.renew_owner_lease("one", "a")


async def test_each_renewal_is_seen(store: Store) -> None:
    await store.take_owner_lease("two", "b")
    await store.take_owner_lease("one", "a")
    assert await store.owner_leases() == [OwnerLease("one", "a", 0), OwnerLease("two", "b", 0)]
    assert await store.renew_owner_lease("one", "a")
    assert await store.renew_owner_lease("one", "a")
    assert await store.owner_leases() == [OwnerLease("one", "a", 2), OwnerLease("two", "b", 0)]


async def test_who_was_replaced_renews_nothing_any_more(store: Store) -> None:
    await store.take_owner_lease("one", "a")
    await store.renew_owner_lease("one", "a")
    await store.take_owner_lease("one", "b")
    assert not await store.renew_owner_lease("one", "a")
    assert await store.owner_leases() == [OwnerLease("one", "b", 0)]
    assert await store.renew_owner_lease("one", "b")


async def test_leases_outlive_the_process(new_store: Callable[[], Store]) -> None:
    store = new_store()
    await store.open()
    await store.take_owner_lease("one", "a")
    await store.close()
    again = new_store()
    await again.open()
    assert await again.owner_leases() == [OwnerLease("one", "a", 0)]
    assert await again.renew_owner_lease("one", "a")
    await again.close()
