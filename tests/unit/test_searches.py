"""Searches take turns: whoever asks for many leaves a turn to others, and has a bounded part."""

import asyncio
from collections.abc import Callable, Coroutine
from itertools import product
from typing import Any

import pytest

from rillflow.errors import OverloadedError
from rillflow.ports.storage.aliases import AliasName
from rillflow.ports.storage.execution_search import NewestCount, Wanted
from rillflow.ports.storage.store import ExecutionFilter
from rillflow.runtime.searches import AT_ONCE, MOST_WAITING, FairSearches
from rillflow.stores.memory.store import MemoryStore

ALL = Wanted()


class HeldStore(MemoryStore):
    """A store whose counts go on when they are told to."""

    def __init__(self) -> None:
        super().__init__()
        self.counted: list[int] = []
        self.goes_on = asyncio.Event()

    async def count_newest(self, wanted: Wanted, most: int) -> NewestCount:
        self.counted.append(most)
        await self.goes_on.wait()
        return await super().count_newest(wanted, most)


async def test_who_searches_without_an_end_leaves_turns_to_others_and_is_refused_more() -> None:
    sender = "many"
    store = HeldStore()
    await store.open()
    searches = FairSearches(store, lambda: sender)
    first = [asyncio.create_task(searches.count_newest(ALL, 1)) for _ in range(MOST_WAITING // 2)]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError, match="searches are waiting") as error:
        await searches.count_newest(ALL, 1)
    assert error.value.http_status == 503
    sender = "other"
    other = asyncio.create_task(searches.count_newest(ALL, 2))
    await asyncio.sleep(0)
    assert store.counted == [1] * (AT_ONCE - 1) + [2]
    store.goes_on.set()
    counts = await asyncio.gather(*first, other)
    assert {each.is_whole for each in counts} == {True}


@pytest.mark.parametrize(
    "search",
    [
        lambda searches: searches.search_executions(ALL, limit=1),
        lambda searches: searches.count_by_time(ALL, [0, 1]),
        lambda searches: searches.count_newest(ALL, 1),
        lambda searches: searches.list_executions(ExecutionFilter(), limit=1),
        lambda searches: searches.count_executions(ExecutionFilter()),
        lambda searches: searches.count_codes(ExecutionFilter()),
        lambda searches: searches.count_each([ExecutionFilter(), ExecutionFilter()]),
        lambda searches: searches.aliases_of((), AliasName(), limit=1),
        lambda searches: searches.youngest_aliases(limit=1),
        lambda searches: searches.listed_versions("a", "b", limit=1),
        lambda searches: searches.window_of(Wanted(keys=(("a", "1"), ("b", "2"))), most=1),
    ],
)
async def test_every_search_takes_a_turn(
    search: Callable[[FairSearches], Coroutine[Any, Any, Any]],
) -> None:
    store = HeldStore()
    await store.open()
    searches = FairSearches(store, lambda: "one")
    held = [asyncio.create_task(searches.count_newest(ALL, 1)) for _ in range(AT_ONCE - 1)]
    await asyncio.sleep(0)
    waits = asyncio.create_task(search(searches))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not waits.done()
    store.goes_on.set()
    await asyncio.gather(*held, waits)


async def test_the_aliases_of_workspaces_are_listed_by_name() -> None:
    store = MemoryStore()
    await store.open()
    searches = FairSearches(store, str)
    names = [AliasName(*name) for name in product(("a", "b", "c"), ("x", "y"), ("release",))]
    for name in names:
        await store.add_version(*name, "1" * 32, "text", at_ms=1)
    assert [row.name for row in await searches.aliases_of((), AliasName(), limit=9)] == names
    wanted, pages = [name for name in names if name.business != "b"], list[AliasName]()
    first = AliasName()
    while True:
        rows = await searches.aliases_of({"c", "a"}, first, limit=3)
        pages += [row.name for row in rows[:2]]
        if len(rows) < 3:
            break
        first = rows[2].name
    assert pages == wanted
