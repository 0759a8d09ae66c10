"""Wide executions that do not fit into memory together run one after the other."""

import asyncio
from typing import Final

from rillflow.ids import ExecutionId
from rillflow.ports.storage.store import StoredExecution
from rillflow.stores.memory.store import MemoryStore
from tests.api.serving import served

WIDE: Final = """workspace: wide
dagName: little
type: flow
tasks:
  - name: each
    category: foreach
    inputMappings: [{ source: $.context.items, target: $.input.items }]
    iterationMapping: { collection: $.input.items, item: item }
    tasks:
      - { name: nothing, category: pass }
"""
ITEMS: Final = 3_000
AT_ONCE: Final = 8
HOT_BYTES: Final = 120 << 20
"""Room for three of them."""
MOST_READS: Final = 4
"""How often each is read: it may leave memory before its first portion, and, where the machine is
busy, between two others; six times where those in memory do not go on while others are read."""
PATIENCE_S: Final = 60


class CountingStore(MemoryStore):
    """Counts the executions that are read whole."""

    def __init__(self) -> None:
        super().__init__()
        self.loads = 0

    async def load(
        self, execution_id: ExecutionId, most_bytes: int | None = None
    ) -> StoredExecution | None:
        found = await super().load(execution_id, most_bytes)
        self.loads += 1
        return found


async def test_each_goes_on_in_memory_until_its_end() -> None:
    store = CountingStore()
    async with served(store=store, hot_bytes=HOT_BYTES) as api, asyncio.timeout(PATIENCE_S):
        definition = await api.add(WIDE)
        context = {"items": list(range(ITEMS))}
        started = [api.submit(definition, context) for _ in range(AT_ONCE)]
        for execution_id in await asyncio.gather(*started):
            shown = await api.shown(execution_id, brief=True, wait_s=PATIENCE_S)
            assert shown["dag_status"] == "SUCCEED"
    assert store.loads <= MOST_READS * AT_ONCE
