"""What a business declares is removed at once, however many aliases it has."""

from collections.abc import Sequence

import pytest

from rillflow.ports.triggers import TriggerRow
from rillflow.runtime.definitions.declared_triggers import remove_declared
from rillflow.stores.memory.store import MemoryStore

ALIASES = 40


class CountingStore(MemoryStore):
    """A store that counts its changes of declared triggers, and the listings of names."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    async def sync_triggers(
        self, owner: str, triggers: Sequence[tuple[TriggerRow, str]], *, at_ms: int
    ) -> list[str]:
        self.calls += 1
        return await super().sync_triggers(owner, triggers, at_ms=at_ms)

    async def remove_declared_triggers(self, *names: str, at_ms: int) -> None:
        self.calls += 1
        await super().remove_declared_triggers(*names, at_ms=at_ms)

    async def features(self, business: str) -> list[str]:
        self.calls += 1
        return await super().features(business)

    async def aliases(self, business: str, feature: str) -> list[str]:
        self.calls += 1
        return await super().aliases(business, feature)


@pytest.mark.parametrize(
    ("unlisted", "left"),
    [(("w",), 0), (("w", "f"), ALIASES), (("w", "f", "a0"), 2 * ALIASES - 1)],
    ids=["business", "feature", "alias"],
)
async def test_one_call_removes_all_that_is_declared_there(
    unlisted: tuple[str, ...], left: int
) -> None:
    store = CountingStore()
    await store.open()
    for feature in ("f", "g"):
        for number in range(ALIASES):
            owner = f"w:{feature}:a{number}"
            row = TriggerRow(id=f"{owner}/t", type="cron", descriptor_id=owner, owner=owner)
            await store.register("w", feature, f"a{number}")
            await store.sync_triggers(owner, [(row, "")], at_ms=1)
    store.calls = 0
    business, feature, alias, *_ = *unlisted, None, None
    await remove_declared(store, business or "", feature, alias, at_ms=2)
    assert store.calls == 1
    assert len(await store.list_triggers(limit=1_000)) == left
