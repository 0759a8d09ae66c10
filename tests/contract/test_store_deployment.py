"""A store keeps one wanted state of its deployment, without anything of secrets."""

import asyncio
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from rillflow.ports.deployment import Deployment
from rillflow.ports.storage.store import Store
from rillflow.stores import open_store
from tests.contract.tables import run_sql
from tests.deployments import FIRST


def wanted(version: int, **fields: Any) -> Deployment:
    return replace(FIRST, version=version, **fields)


async def test_there_is_no_wanted_state_before_the_first(store: Store) -> None:
    assert await store.deployment() is None


async def test_a_wanted_state_follows_the_version_that_is_stored(store: Store) -> None:
    assert not await store.set_deployment(wanted(5), after_version=4)
    assert await store.set_deployment(wanted(1), after_version=0)
    assert await store.deployment() == wanted(1)
    assert not await store.set_deployment(wanted(7), after_version=0)
    assert not await store.set_deployment(wanted(7), after_version=2)
    assert await store.deployment() == wanted(1)
    assert await store.set_deployment(wanted(2, execution_actors=3), after_version=1)
    assert await store.deployment() == wanted(2, execution_actors=3)


async def test_of_several_that_follow_one_version_one_is_kept(store: Store) -> None:
    await store.set_deployment(wanted(1), after_version=0)
    rivals = [wanted(2, settings_digest=f"rival{number}") for number in range(5)]
    taken = await asyncio.gather(
        *(store.set_deployment(rival, after_version=1) for rival in rivals)
    )
    assert sum(taken) == 1
    assert await store.deployment() == rivals[taken.index(True)]


async def test_a_wanted_state_outlives_the_process(new_store: Callable[[], Store]) -> None:
    store = new_store()
    await store.open()
    await store.set_deployment(wanted(1), after_version=0)
    await store.close()
    again = new_store()
    await again.open()
    assert await again.deployment() == wanted(1)
    await again.close()


async def test_the_digest_of_secrets_is_never_stored(store: Store) -> None:
    await store.set_deployment(wanted(1, secrets_digest="sssh"), after_version=0)
    assert await store.deployment() == wanted(1)


async def test_a_durable_store_holds_nothing_of_secrets(durable_url: str) -> None:
    store = open_store(durable_url)
    await store.open()
    try:
        await store.set_deployment(wanted(1, secrets_digest="sssh"), after_version=0)
        await store.set_deployment(wanted(2, secrets_digest="sssh"), after_version=1)
    finally:
        await store.close()
    assert "sssh" not in str(await run_sql(durable_url, "SELECT * FROM deployment"))
