"""Executions in quarantine are listed from what the store has and from what owners know."""

from typing import Final

from rillflow.ids import ExecutionId
from rillflow.ports.executions import Call, Reply, ResourceCall
from rillflow.ports.storage.store import Death
from rillflow.runtime.crashes.quarantine_list import quarantined
from rillflow.stores.memory.store import MemoryStore

DEAD: Final = "shop:order_c_8f0f9c00-0000-11f0-8000-000000000001"
CRASHED: Final = "shop:order_c_8f0f9c00-0000-11f0-8000-000000000002"


class Owners:
    """Owners that answer with these bodies."""

    def __init__(self, *bodies: bytes) -> None:
        self._bodies = bodies

    async def call(self, call: Call) -> Reply:
        raise AssertionError(call)

    async def ask_all(self, call: ResourceCall) -> list[Reply]:
        assert call.kind == "quarantined"
        return [Reply(changed=False, body=body) for body in self._bodies]


async def opened() -> MemoryStore:
    store = MemoryStore()
    await store.open()
    return store


def death(execution_id: ExecutionId, life: str) -> Death:
    return Death(execution_id=execution_id, life=life, step="TimerFired one", at_ms=1)


async def test_nothing_is_in_quarantine_after_one_death() -> None:
    store = await opened()
    await store.note_death(death(DEAD, "1"))
    assert await quarantined(store, Owners(b"{}")) == {}


async def test_what_died_twice_and_what_owners_hold_is_listed() -> None:
    store = await opened()
    for life in ("1", "2"):
        await store.note_death(death(DEAD, life))
    found = await quarantined(store, Owners(b'{"%b": "it crashed"}' % CRASHED.encode()))
    assert sorted(found) == [DEAD, CRASHED]
    assert "died 2 times" in found[DEAD]
    assert found[CRASHED] == "it crashed"


async def test_owners_of_an_earlier_release_and_silent_ones_tell_nothing() -> None:
    assert await quarantined(await opened(), Owners(b"[]", b"")) == {}
