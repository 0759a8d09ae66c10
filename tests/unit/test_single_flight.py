"""Submissions that come at once share their reads of the catalogue, and see no old one.

Who asks while the catalogue is read gets the next reading: what was stored before the
question is in the answer, even if it was stored after the reading under way began.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from rillflow.errors import StoreError
from rillflow.ports.storage.store import Store
from rillflow.runtime.definitions.catalogue import SingleFlightReads
from rillflow.stores import open_store

ORDER = ("shop", "order", "release")


class WatchedStore:
    """A store whose reads wait at a gate, after they have looked, and are counted."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.open = asyncio.Event()
        self.reads: list[tuple[str, ...]] = []
        self.fails = False

    async def newest_version(self, business: str, feature: str, alias: str) -> str | None:
        found = await self._store.newest_version(business, feature, alias)
        self.reads.append((business, feature, alias))
        await self.open.wait()
        if self.fails:
            raise StoreError("the disk is gone")
        return found

    async def rules(self, kind: str, scope: Sequence[str]) -> dict[str, str]:
        return await self._store.rules(kind, scope)

    async def has_version(self, business: str, feature: str, version: str) -> bool:
        return await self._store.has_version(business, feature, version)


@pytest.fixture(name="store")
async def _store() -> AsyncIterator[Store]:
    store = open_store("memory:")
    await store.open()
    yield store
    await store.close()


@pytest.fixture(name="watched")
def _watched(store: Store) -> WatchedStore:
    return WatchedStore(store)


@pytest.fixture(name="shared")
def _shared(watched: WatchedStore) -> SingleFlightReads:
    return SingleFlightReads(watched)


async def add(store: Store, version: str) -> None:
    await store.add_version(*ORDER, version, "text", at_ms=1)


def ask(shared: SingleFlightReads, *address: str) -> "asyncio.Task[str | None]":
    return asyncio.create_task(shared.newest_version(*(address or ORDER)))


async def go_on() -> None:
    """Let everything that can go on do so."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_version_that_was_added_during_a_reading_is_seen_by_who_asks_after_it(
    store: Store, watched: WatchedStore, shared: SingleFlightReads
) -> None:
    await add(store, "old")
    before = ask(shared)
    await go_on()
    await add(store, "new")
    after = ask(shared)
    watched.open.set()

    assert await before == "old"
    assert await after == "new"


async def test_who_asks_at_once_shares_one_reading(
    store: Store, watched: WatchedStore, shared: SingleFlightReads
) -> None:
    await add(store, "only")
    first = ask(shared)
    await go_on()
    others = [ask(shared) for _ in range(50)]
    await go_on()
    watched.open.set()

    assert await asyncio.gather(first, *others) == ["only"] * 51
    assert watched.reads == [ORDER, ORDER]


async def test_different_questions_of_one_moment_have_their_own_answers(
    store: Store, watched: WatchedStore, shared: SingleFlightReads
) -> None:
    await add(store, "only")
    watched.open.set()
    asked = [ask(shared), ask(shared, "shop", "order", "beta"), ask(shared)]

    assert await asyncio.gather(*asked) == ["only", None, "only"]
    assert watched.reads == [ORDER, ("shop", "order", "beta")]


async def test_a_failure_of_the_store_reaches_everybody_and_is_not_remembered(
    store: Store, watched: WatchedStore, shared: SingleFlightReads
) -> None:
    await add(store, "only")
    watched.fails = True
    watched.open.set()
    asked = [ask(shared) for _ in range(3)]

    errors = await asyncio.gather(*asked, return_exceptions=True)
    watched.fails = False

    assert [str(error) for error in errors] == ["the disk is gone"] * 3
    assert await shared.newest_version(*ORDER) == "only"


async def test_rules_and_known_versions_are_read_as_they_are(store: Store) -> None:
    shared = SingleFlightReads(store)
    await add(store, "known")
    await store.set_rule("gray", ("shop", "order"), "beta", "true")

    assert await shared.rules("gray", ("shop", "order")) == {"beta": "true"}
    assert await shared.rules("gray", ("shop", "other")) == {}
    assert await shared.has_version("shop", "order", "known")
    assert not await shared.has_version("shop", "order", "unknown")
