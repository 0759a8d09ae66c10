"""A trigger that cannot be taken keeps no other one from being learned."""

from rillflow.ports.triggers import TriggerRow
from rillflow.runtime.triggers.changes import TriggerChanges
from rillflow.stores.memory.store import MemoryStore


async def test_a_trigger_that_cannot_be_taken_keeps_no_later_one_from_being_learned() -> None:
    store, learned = MemoryStore(), list[str]()
    await store.open()
    for name in ("first", "odd", "last"):
        await store.put_trigger(
            TriggerRow(id=name, type="cron", descriptor_id="a:b"), "", replace=False
        )

    def learn(row: TriggerRow) -> None:
        learned.append(row.id)
        if row.id == "odd":
            raise OverflowError("date value out of range")

    changes = TriggerChanges(store, learn)
    await changes.look()
    assert learned == ["first", "odd", "last"]
    await changes.look()
    assert learned == ["first", "odd", "last"]
