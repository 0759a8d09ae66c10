"""Executions that end in one process, in a store with faults, for tests of retention.

Used by `tests/unit/test_archived.py` and `tests/unit/test_retention.py`.
"""

import asyncio
import errno
import json
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from rillflow.artifacts.store import ArtifactStore
from rillflow.core.encoding.codec import APART_FORMAT
from rillflow.core.events import CallbackReceived
from rillflow.errors import DamagedError
from rillflow.ids import ExecutionId
from rillflow.ports.executions import Delivery
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest
from rillflow.ports.storage.store import (
    ExecutionFilter,
    ExecutionSummary,
    Store,
    StoredExecution,
)
from rillflow.runtime.archived import LARGE_BYTES, Lines
from rillflow.runtime.definitions.catalogue import add_descriptor
from rillflow.runtime.local import LocalExecutions
from rillflow.runtime.retention import Retention
from rillflow.runtime.submission.intake import Options, Submissions
from rillflow.settings import Settings
from rillflow.stores.archive import Line
from rillflow.stores.memory.store import MemoryStore
from tests.loopback import NOW_MS, ManualClock

DAY_S = 86_400
WORK = """
workspace: house
dagName: work
type: flow
tasks:
  - { name: do, category: function, pattern: task_async, resourceName: "http://127.0.0.1:1/work" }
"""
ABOVE = """
workspace: house
dagName: above
type: flow
tasks:
  - name: below
    category: function
    pattern: flow_sync
    resourceName: rillflow://house:work
    next: do
  - { name: do, category: function, pattern: task_async, resourceName: "http://127.0.0.1:1/work" }
"""


class AcceptingGateway:
    """Accepts every call; the callbacks are the tests' affair."""

    def __init__(self) -> None:
        self.called: asyncio.Queue[ExecutionId] = asyncio.Queue()

    async def call(self, request: DispatchRequest) -> DispatchAnswer:
        self.called.put_nowait(request.execution_id)
        return DispatchAnswer(
            execution_id=request.execution_id, task=request.task, attempt=request.attempt
        )

    async def close(self) -> None:
        """Nothing is open."""


class HoledStore(MemoryStore):
    """A store in which some executions cannot be read, and that counts lists."""

    def __init__(self, *, large_value_bytes: int) -> None:
        super().__init__(large_value_bytes=large_value_bytes)
        self.damaged: set[ExecutionId] = set()
        self.torn: set[ExecutionId] = set()
        self.remains: list[tuple[ManualClock, float]] = []
        self.lists = 0

    async def purgeable(
        self, *, ended_before_ms: int, keep: int, limit: int
    ) -> list[ExecutionSummary]:
        self.lists += 1
        return await super().purgeable(ended_before_ms=ended_before_ms, keep=keep, limit=limit)

    async def load(
        self, execution_id: ExecutionId, most_bytes: int | None = None
    ) -> StoredExecution | None:
        if execution_id in self.damaged:
            raise DamagedError(f"{execution_id}: a value is missing")
        found = await super().load(execution_id, most_bytes)
        if found is not None and execution_id in self.torn:
            torn = bytes([APART_FORMAT]) + b'{"shared":[' + b" " * LARGE_BYTES
            return msgspec.structs.replace(found, snapshot=torn)
        return found

    async def purge_remains(self, *, most_bytes: int) -> bool:
        assert most_bytes > 0
        if not self.remains:
            return False
        clock, took_s = self.remains.pop(0)
        clock.forward(took_s)
        return True


class House:
    """Executions in one process, on a clock that stands still until a test moves it."""

    def __init__(self, store: Store) -> None:
        self.clock = ManualClock()
        self.store = store
        self.gateway = AcceptingGateway()
        self.executions = LocalExecutions(store=store, gateway=self.gateway, clock=self.clock)
        self._submissions = Submissions(
            Settings(), store=store, executions=self.executions, clock=self.clock
        )

    async def submit(self, feature: str, key: str | None = None) -> ExecutionId:
        options = Options(idempotency_key=key)
        return await self._submissions.submit(f"house:{feature}", b"{}", options)

    async def finish(self, execution_id: ExecutionId, output: bytes = b'{"said": "ja"}') -> None:
        event = CallbackReceived(at_ms=self.clock.now_ms(), task="do", output=output)
        reply = await self.executions.call(Delivery(execution_id=execution_id, event=event))
        reply.raise_for_error()
        async with asyncio.timeout(60):
            await self.executions.host.settled(execution_id)

    async def work(self, count: int = 1) -> list[ExecutionId]:
        """Have executions begin and end, one second after the other."""
        ids = [await self.submit("work") for _ in range(count)]
        for execution_id in ids:
            self.clock.forward(1)
            await self.finish(execution_id)
        return ids

    async def stored(self) -> set[ExecutionId]:
        listed = await self.store.list_executions(ExecutionFilter(), limit=1_000)
        return {each.execution_id for each in listed}

    def retention(
        self,
        *,
        keep_s: float | None = None,
        keep_count: int | None = None,
        archive: Lines | None = None,
        artifacts: ArtifactStore | None = None,
        **others: Any,
    ) -> Retention:
        return Retention(
            self.store,
            self.clock,
            keep_s=keep_s,
            keep_count=keep_count,
            archive=archive,
            artifacts=artifacts,
            **others,
        )


@asynccontextmanager
async def open_house() -> AsyncIterator[House]:
    """Run executions, of which nearly every value is a large one, and stored apart."""
    store = HoledStore(large_value_bytes=8)
    await store.open()
    house = House(store)
    for feature, text in (("work", WORK), ("above", ABOVE)):
        await add_descriptor(store, "house", feature, "release", text, at_ms=NOW_MS)
    await house.executions.start()
    yield house
    await house.executions.stop()
    await store.close()


class FullArchive:
    """An archive that has room for some appends."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.lines: list[bytes] = []
        self.appends: list[int] = []

    async def append(self, lines: Iterable[Line], *, at_ms: int) -> None:
        texts = [b"".join(parts) for parts in lines]
        if not self.room:
            raise OSError(errno.ENOSPC, f"no room for {len(texts)} lines at {at_ms}")
        self.room -= 1
        self.lines += texts
        self.appends.append(len(texts))


def lines_in(folder: Path) -> Iterator[dict[str, Any]]:
    for file in sorted(folder.iterdir()):
        for line in file.read_text(encoding="utf-8").splitlines():
            yield json.loads(line)
