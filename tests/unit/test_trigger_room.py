"""The room for triggers is counted by the store once, not for each trigger that is added."""

from collections.abc import AsyncIterator

import pytest

from rillflow.ports.triggers import TriggerRow, TriggerUse
from rillflow.runtime.definitions.trigger_room import TriggerRoom
from rillflow.stores.memory.store import MemoryStore


class CountingStore(MemoryStore):
    """Notes how often all triggers are counted."""

    counted = 0

    async def trigger_use(self, workspace: str = "", *, besides: str = "") -> TriggerUse:
        """Count, and note it."""
        self.counted += 1
        return await super().trigger_use(workspace, besides=besides)


@pytest.fixture
async def store() -> AsyncIterator[CountingStore]:
    """Return an open store."""
    opened = CountingStore()
    await opened.open()
    yield opened
    await opened.close()


async def add(room: TriggerRoom, store: MemoryStore, workspace: str, name: str) -> None:
    row = TriggerRow(id=name, type="cron", descriptor_id=f"{workspace}:flow")
    async with room.taken(workspace, [(row, "{}")]):
        assert await store.put_trigger(row, "{}", replace=False) is not None


async def test_a_process_that_adds_many_triggers_counts_them_once(store: CountingStore) -> None:
    room = TriggerRoom(store)
    for number in range(100):
        await add(room, store, "one", f"one{number}")
    assert store.counted == 1
    known = room._counted
    assert known is not None
    assert known.use == await store.trigger_use("one")


async def test_what_others_add_or_remove_is_counted_anew(store: CountingStore) -> None:
    room, of_another_process = TriggerRoom(store), TriggerRoom(store)
    await add(room, store, "one", "a")
    await add(of_another_process, store, "one", "b")
    await add(room, store, "one", "c")
    assert store.counted == 3
    await store.remove_trigger("b", at_ms=1)
    await add(room, store, "one", "d")
    assert store.counted == 4
    await add(room, store, "two", "e")
    assert store.counted == 5
