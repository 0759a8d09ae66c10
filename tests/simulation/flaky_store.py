"""The one durable store of a run: slow, sometimes failing, and fatal to its callers.

Appends are written one after the other, in the order they are handed in, as the real
stores do. Every accepted record goes to whoever listens, at the moment it is durable. A process
writes and reads what its release knows.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from rillflow.errors import StoreError
from rillflow.ids import ExecutionId
from rillflow.ports.storage.store import Append, StoredExecution
from rillflow.stores.large_values import LARGE_VALUE_BYTES
from rillflow.stores.memory.store import MemoryStore
from tests.simulation.releases import NOW, Release
from tests.simulation.surroundings import Surroundings
from tests.simulation.virtual_loop import LIFE, Life


class Listener(Protocol):
    """Who is told what became durable."""

    def defined(self, definition_id: str, text: str) -> None:
        """Hear of a definition."""

    def taken(self, life: Life | None, scopes: Sequence[int]) -> None:
        """Hear of a new owner."""

    def written(self, life: Life | None, append: Append) -> None:
        """Hear of an append."""

    def doubted(self, append: Append) -> None:
        """Hear that the writer of an append was told that it may have failed."""


class FlakyStore(MemoryStore):
    """See the module."""

    def __init__(self, around: Surroundings, listener: Listener) -> None:
        # In every other world, much of what is stored is stored apart.
        super().__init__(large_value_bytes=32 if around.seed % 2 else LARGE_VALUE_BYTES)
        self._around = around
        self._listener = listener
        self._turns: dict[Life | None, asyncio.Lock] = {}
        self.release_of: Callable[[Life | None], Release] = lambda _: NOW

    async def put_definition_text(self, definition_id: str, text: str) -> None:
        await super().put_definition_text(definition_id, text)
        self._listener.defined(definition_id, text)

    async def take_scopes(self, scopes: Sequence[int]) -> int:
        await self._read()
        epoch = await super().take_scopes(scopes)
        self._around.note("owns", f"epoch {epoch}")
        self._listener.taken(LIFE.get(), scopes)
        await self._read()
        return epoch

    async def append(self, appends: Sequence[Append]) -> None:
        life = LIFE.get()
        async with self._turns.setdefault(life, asyncio.Lock()):
            await self._append(life, [self.release_of(life).appended(each) for each in appends])

    async def _append(self, life: Life | None, appends: Sequence[Append]) -> None:
        around = self._around
        slow = around.happens(around.faults.slow / 10)
        await asyncio.sleep((0.5 if slow else 0.002) * around.random.random())
        await self._perhaps_die(around.faults.crash_before)
        if around.happens(around.faults.refused):
            around.note("append failed")
            raise StoreError("the disk is full")
        await super().append(appends)
        for append in appends:
            self._listener.written(life, append)
        await self._perhaps_die(around.faults.crash_after)
        if around.happens(around.faults.unsure):
            around.note("append failed", "although written")
            for append in appends:
                self._listener.doubted(append)
            raise StoreError("the connection was lost during the commit")
        await asyncio.sleep(0)

    async def newest_epoch(self, scopes: Sequence[int]) -> int:
        await self._read()
        return await super().newest_epoch(scopes)

    async def load(
        self, execution_id: ExecutionId, most_bytes: int | None = None
    ) -> StoredExecution | None:
        await self._read()
        stored = await super().load(execution_id, most_bytes)
        await asyncio.sleep(0.001 * self._around.random.random())
        return None if stored is None else self.release_of(LIFE.get()).loaded(stored)

    async def unfinished(self, listings: Sequence[int]) -> list[ExecutionId]:
        await self._read()
        return await super().unfinished(listings)

    async def definition_text(self, definition_id: str) -> str | None:
        await self._read()
        return await super().definition_text(definition_id)

    async def newest_version(self, business: str, feature: str, alias: str) -> str | None:
        await self._read()
        return await super().newest_version(business, feature, alias)

    async def rules(self, kind: str, scope: Sequence[str]) -> dict[str, str]:
        await self._read()
        return await super().rules(kind, scope)

    async def _read(self) -> None:
        around = self._around
        if LIFE.get() is around.loop.outside:
            return
        await asyncio.sleep(0.001 * around.random.random())
        if around.happens(around.faults.unreadable):
            raise StoreError("the store cannot be read just now")

    async def _perhaps_die(self, likelihood: float) -> None:
        life = LIFE.get()
        if life is not None and self._around.happens(likelihood):
            life.kill()
            await asyncio.Event().wait()
