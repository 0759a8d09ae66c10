"""Lists of triggers are made for senders in turn, of rows of their workspaces, in short pages."""

import asyncio
import threading
from collections.abc import AsyncIterator, Collection

import pytest

from rillflow.gateways.outbound.threads import FOR_LISTS
from rillflow.ports.triggers import TriggerRow
from rillflow.runtime.process.clock import SystemClock
from rillflow.runtime.triggers.trigger_lists import (
    PAGES_AT_ONCE,
    READ_TOGETHER,
    TriggerLists,
)
from rillflow.stores.memory.store import MemoryStore

LONG_S = 60
SPEC = '{"cron":"0 0 3 * * *","time_zone":"UTC"}'


class HeldStore(MemoryStore):
    """A store that lists triggers when it is told to, and notes what it lists."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.asked: list[tuple[str, ...]] = []
        self.rows = 0

    async def list_triggers(
        self,
        *,
        kind: str | None = None,
        owner: str | None = None,
        workspaces: Collection[str] = (),
        after: str = "",
        limit: int,
    ) -> list[TriggerRow]:
        """List triggers, later."""
        self.asked.append(tuple(workspaces))
        await self.goes_on.wait()
        found = await super().list_triggers(
            kind=kind, owner=owner, workspaces=workspaces, after=after, limit=limit
        )
        self.rows += len(found)
        return found

    async def add(self, workspace: str, number: int) -> None:
        """Store triggers of a workspace."""
        for each in range(number):
            name = f"{workspace}{each:03}"
            row = TriggerRow(id=name, type="cron", descriptor_id=f"{workspace}:f", spec=SPEC)
            assert await self.put_trigger(row, '{"a":1}', replace=False) is not None


class Scene:
    """Lists whose present sender is told."""

    def __init__(self, store: MemoryStore, longest_page_s: float = LONG_S) -> None:
        self.sender = "many"
        self.lists = TriggerLists(
            store, SystemClock(), lambda: self.sender, longest_page_s=longest_page_s
        )

    async def page(self, sender: str, after: str = "") -> tuple[list[str], str]:
        """Return the ids of a page of a sender's own workspace."""
        self.sender = sender
        found, following = await self.lists.page([sender], owner=None, after=after, limit=500)
        return [each["id"] for each in found], following

    async def bodies(self, sender: str) -> bytes:
        """Return all triggers of a sender's own workspace."""
        self.sender = sender
        return await self.lists.bodies("cron", [sender], take_room=lambda _: None)


@pytest.fixture
async def store() -> AsyncIterator[HeldStore]:
    """Return an open store."""
    opened = HeldStore()
    await opened.open()
    yield opened
    await opened.close()


async def test_a_list_of_some_workspaces_reads_no_rows_of_others(store: HeldStore) -> None:
    await store.add("many", 300)
    await store.add("other", 2)
    scene = Scene(store)
    assert await scene.page("other") == (["other000", "other001"], "")
    assert await scene.bodies("other") == (
        b'{"other000":{"cron":"0 0 3 * * *","context":{"a":1}},'
        b'"other001":{"cron":"0 0 3 * * *","context":{"a":1}}}'
    )
    assert store.rows == 4


async def test_a_page_ends_where_its_rows_take_long(store: HeldStore) -> None:
    await store.add("many", 2 * READ_TOGETHER + 5)
    whole, _ = await Scene(store).page("many")
    assert len(whole) == 2 * READ_TOGETHER + 5
    scene = Scene(store, longest_page_s=-1.0)
    pages, after = list[list[str]](), ""
    while not pages or after:
        page, after = await scene.page("many", after)
        pages.append(page)
    assert [len(page) for page in pages] == [READ_TOGETHER, READ_TOGETHER, 5]
    assert [each for page in pages for each in page] == whole


@pytest.mark.parametrize("limit", [1, READ_TOGETHER - 1, READ_TOGETHER, READ_TOGETHER + 1, 45])
async def test_pages_have_as_many_as_are_asked_for(store: HeldStore, limit: int) -> None:
    await store.add("many", 45)
    scene, found, after = Scene(store), list[str](), ""
    while True:
        page, after = await scene.lists.page(owner=None, after=after, limit=limit)
        found += [each["id"] for each in page]
        if not after:
            break
        assert len(page) == limit
    assert found == [f"many{number:03}" for number in range(45)]


async def test_who_lists_many_pages_leaves_one_to_others(store: HeldStore) -> None:
    scene = Scene(store)
    store.goes_on.clear()
    many = [asyncio.create_task(scene.page("many")) for _ in range(30)]
    await asyncio.sleep(0)
    other = asyncio.create_task(scene.page("other"))
    await asyncio.sleep(0)
    assert store.asked == [("many",)] * (PAGES_AT_ONCE - 1) + [("other",)]
    store.goes_on.set()
    await asyncio.gather(*many, other)


async def test_who_lists_contexts_without_an_end_leaves_a_list_to_others(store: HeldStore) -> None:
    await store.add("other", 1)
    scene = Scene(store)
    store.goes_on.clear()
    many = [asyncio.create_task(scene.bodies("many")) for _ in range(30)]
    await asyncio.sleep(0)
    other = asyncio.create_task(scene.bodies("other"))
    for _ in range(3):
        await asyncio.sleep(0)
    assert store.asked == [("many",), ("other",)]
    store.goes_on.set()
    assert b"other000" in await other
    assert await asyncio.gather(*many) == [b"{}"] * 30


async def test_triggers_are_described_for_senders_in_turn(store: HeldStore) -> None:
    await store.add("other", 1)
    scene, gate = Scene(store), threading.Event()
    held = [asyncio.create_task(FOR_LISTS.run("many", gate.wait)) for _ in range(9)]
    await asyncio.sleep(0)
    try:
        async with asyncio.timeout(LONG_S):
            assert (await scene.page("other"))[0] == ["other000"]
            assert b"other000" in await scene.bodies("other")
    finally:
        gate.set()
    assert await asyncio.gather(*held) == [True] * 9
