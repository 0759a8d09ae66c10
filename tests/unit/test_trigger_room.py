"""Room for triggers is counted once, not for each trigger, and by workspaces in turn."""

import asyncio
from collections.abc import AsyncIterator, Collection

import pytest

from rillflow.ports.triggers import TriggerRow, TriggerUse
from rillflow.runtime.definitions.trigger_room import TriggerRoom
from rillflow.stores.memory.store import MemoryStore
from rillflow.triggers.spec import TriggerSpec, encode_spec


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
    assert known.use_of("one") == await store.trigger_use("one")


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


async def test_triggers_of_workspaces_that_take_turns_are_counted_once_for_each(
    store: CountingStore,
) -> None:
    room = TriggerRoom(store)
    for number in range(10):
        await add(room, store, "one", f"one{number}")
        await add(room, store, "two", f"two{number}")
    assert store.counted == 2
    for workspace in ("one", "two"):
        assert room._counted.use_of(workspace) == await store.trigger_use(workspace)


async def test_what_could_not_be_stored_is_not_counted(store: CountingStore) -> None:
    room = TriggerRoom(store)
    await add(room, store, "one", "a")
    with pytest.raises(ValueError, match="taken"):
        async with room.taken(
            "one", [(TriggerRow(id="a", type="cron", descriptor_id="one:x"), "")]
        ):
            raise ValueError("taken")
    await add(room, store, "one", "b")
    assert store.counted == 1
    assert room._counted.use_of("one") == await store.trigger_use("one")


async def test_a_workspace_that_adds_many_lets_another_add_the_next(store: CountingStore) -> None:
    room, goes_on = TriggerRoom(store), asyncio.Event()
    added: list[str] = []

    async def put(workspace: str, name: str) -> None:
        row = TriggerRow(id=name, type="cron", descriptor_id=f"{workspace}:flow")
        async with room.taken(workspace, [(row, "{}")]):
            await goes_on.wait()
            added.append(name)

    many = [asyncio.create_task(put("many", f"many{number}")) for number in range(30)]
    await asyncio.sleep(0)
    other = asyncio.create_task(put("other", "other"))
    for _ in range(9):
        await asyncio.sleep(0)
    assert not added
    goes_on.set()
    await asyncio.gather(*many, other)
    assert added.index("other") <= 2, "one is being added, and one of them may be next"


class HeldGroupsStore(CountingStore):
    """A store whose lists, where groups are looked for, go on when they are told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.goes_on = asyncio.Event(), asyncio.Event()

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
        self.asked.set()
        await self.goes_on.wait()
        return await super().list_triggers(
            kind=kind, owner=owner, workspaces=workspaces, after=after, limit=limit
        )


async def test_who_adds_a_trigger_without_a_group_waits_for_no_search_for_one() -> None:
    store = HeldGroupsStore()
    await store.open()
    room = TriggerRoom(store)
    spec = encode_spec(TriggerSpec(config={"brokers": "k:9092", "topic": "t", "group": "g"}))
    row = TriggerRow(id="k", type="kafka", descriptor_id="one:flow", spec=spec)

    async def add_kafka() -> None:
        async with room.taken("one", [(row, "")]):
            await store.put_trigger(row, "", replace=False)

    adding = asyncio.create_task(add_kafka())
    await store.asked.wait()
    async with asyncio.timeout(60):
        await add(room, store, "two", "a")
    assert not adding.done()
    store.goes_on.set()
    await adding
    assert (await store.trigger_use()).triggers == 2
    await store.close()
