"""A consumer group of Kafka belongs to the triggers of one workspace."""

import json
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from rillflow.errors import RequestError
from rillflow.runtime.definitions.catalogue import add_descriptor
from rillflow.runtime.process.clock import SystemClock
from rillflow.runtime.triggers.registry import TriggerRegistry
from rillflow.stores.memory.store import MemoryStore
from rillflow.triggers.trigger_types import read_trigger
from tests.api.definition_texts import PASS

KAFKA: Final[dict[str, Any]] = {"brokers": "k:9092", "topic": "t"}


class Registry(TriggerRegistry):
    """The triggers of a store, which start nothing."""

    def __init__(self, store: MemoryStore) -> None:
        submissions: Any = None
        super().__init__(store, submissions, SystemClock())

    async def put(self, descriptor_id: str, trigger_id: str, **kafka: str) -> str:
        read = read_trigger({"kafka": KAFKA | kafka})
        row = await self.add(descriptor_id, read, None, trigger_id=trigger_id, replace=True)
        return row.id


@pytest.fixture(name="store")
async def _store() -> AsyncIterator[MemoryStore]:
    store = MemoryStore()
    await store.open()
    yield store
    await store.close()


async def declared(store: MemoryStore, group: str) -> None:
    kafka = json.dumps(KAFKA | {"group": group})
    text = f"{PASS}triggers:\n  - {{name: first, kafka: {kafka}}}\n"
    await add_descriptor(store, "shop", "order", "release", text, at_ms=1)


async def test_a_workspace_does_not_join_the_group_of_another(store: MemoryStore) -> None:
    triggers = Registry(store)
    await triggers.put("shop:order", "orders", group="g")
    await triggers.put("shop:other", "more", group="g")
    await triggers.put("shop:order", "orders", group="g")
    for others in ({}, {"topic": "u"}, {"brokers": "another-name-of-k:9092"}):
        with pytest.raises(RequestError, match="another workspace reads with the group g"):
            await triggers.put("evil:order", "evil", group="g", **others)
    await triggers.put("evil:order", "evil", group="h")


@pytest.mark.parametrize("trigger_id", ["evil", ""])
async def test_nobody_has_the_group_of_a_trigger_that_names_none(
    store: MemoryStore, trigger_id: str
) -> None:
    triggers = Registry(store)
    with pytest.raises(RequestError, match="begin with rillflow- are those of triggers"):
        await triggers.put("evil:order", trigger_id, group="rillflow-orders")
    assert await triggers.put("shop:order", "orders") == "orders"
    assert await triggers.put("shop:order", "orders", group="rillflow-orders") == "orders"


async def test_the_same_holds_for_declared_triggers(store: MemoryStore) -> None:
    await Registry(store).put("other:order", "orders", group="g")
    for group in ("g", "rillflow-orders"):
        with pytest.raises(RequestError):
            await declared(store, group)
        assert await store.newest_version("shop", "order", "release") is None
    await declared(store, "rillflow-shop:order:release/first")


async def test_a_group_is_found_among_many_triggers(store: MemoryStore) -> None:
    triggers = Registry(store)
    for number in range(250):
        await triggers.put("shop:order", f"t{number}", group=f"g{number}")
    with pytest.raises(RequestError, match=r"with the group g9$"):
        await triggers.put("evil:order", "evil", group="g9")
