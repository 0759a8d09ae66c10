"""Every store keeps API keys by name: a name has one key for ever, and a revoked one stays so."""

import asyncio

from rillflow.ports.storage.access import ApiKey
from rillflow.ports.storage.store import Store


def key(name: str, **more: object) -> ApiKey:
    facts = {"role": "viewer", "key_id": f"id-{name}", "digest": f"d-{name}", **more}
    return ApiKey(name=name, **facts)  # type: ignore[arg-type]


async def test_keys_are_listed_by_name_as_they_were_added(store: Store) -> None:
    second = key("b", workspaces=("video", "shop"), expires_at_ms=7, created_at_ms=3)
    assert await store.api_keys() == []
    assert await store.add_api_key(second, most=10)
    assert await store.add_api_key(key("a"), most=10)
    assert await store.api_keys() == [key("a"), second]


async def test_a_name_is_taken_for_ever(store: Store) -> None:
    assert await store.add_api_key(key("a"), most=10)
    assert not await store.add_api_key(key("a", digest="other"), most=10)
    assert await store.revoke_api_key("a", at_ms=5)
    assert not await store.add_api_key(key("a", digest="other"), most=10)
    assert [each.digest for each in await store.api_keys()] == ["d-a"]


async def test_a_key_that_was_revoked_stays_as_it_was_revoked_first(store: Store) -> None:
    assert not await store.revoke_api_key("a", at_ms=1)
    await store.add_api_key(key("a"), most=10)
    assert await store.revoke_api_key("a", at_ms=2)
    assert await store.revoke_api_key("a", at_ms=3)
    [revoked] = await store.api_keys()
    assert revoked.revoked_at_ms == 2
    assert not revoked.is_valid(2)
    assert key("b", expires_at_ms=9).is_valid(8)
    assert not key("b", expires_at_ms=9).is_valid(9)


async def test_no_more_keys_are_kept_than_may_be_also_when_many_are_added_at_once(
    store: Store,
) -> None:
    added = await asyncio.gather(
        *(store.add_api_key(key(f"k{number}"), most=3) for number in range(8))
    )
    assert sum(added) == 3
    assert len(await store.api_keys()) == 3
