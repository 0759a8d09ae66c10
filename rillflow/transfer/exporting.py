"""An export: what a database holds, as frames.

Executions come before the tables, so that what they refer to is there as of a later moment; the
definition of an execution comes before it. Each execution is read as of one moment.

Used by `cli/commands`.
"""

from collections.abc import AsyncIterator, Callable
from importlib.metadata import version
from typing import Final, TypeAlias

from rillflow.stores.transfer.reading import Found, Reader
from rillflow.stores.transfer.session import Session
from rillflow.stores.transfer.tables import API_KEYS, DEFINITIONS, TABLES
from rillflow.transfer.frames import (
    FORMAT,
    End,
    ExecutionFrame,
    Frame,
    Header,
    PayloadFrame,
    RecordsFrame,
    SnapshotFrame,
    TableFrame,
)

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the number of executions that are done, and their total."""
CLOCKS_MS: Final = 600_000
"""How much earlier than the last export a difference begins: clocks of machines may differ."""


class Export:
    """Reads a database.

    Attributes:
        executions: How many executions were exported.
        problems: Why some were not, each in words.
    """

    def __init__(
        self, session: Session, *, with_keys: bool, since_ms: int | None, progress: Progress
    ) -> None:
        """Export all, or without executions that have ended before ``since_ms``."""
        self._session = session
        self._reader = Reader(session)
        self._with_keys = with_keys
        self._since_ms = since_ms
        self._progress = progress
        self._definitions: set[str] = set()
        self.executions = 0
        self.problems: list[str] = []

    async def frames(self, now_ms: int) -> AsyncIterator[Frame]:
        """Yield everything.

        Raises:
            StoreError: The database cannot be read.
        """
        yield Header(
            format=FORMAT,
            release=version("rillflow"),
            exported_at_ms=now_ms,
            since_ms=self._since_ms,
            has_keys=self._with_keys,
            next_trigger_id=await self._reader.next_trigger_id(),
        )
        async for frame in self._all_executions():
            yield frame
        for name in TABLES:
            if name == API_KEYS and not self._with_keys:
                continue
            async with self._session.transaction():
                async for rows in self._reader.table(name):
                    yield TableFrame(name, rows)
        yield End(self.executions)

    async def _all_executions(self) -> AsyncIterator[Frame]:
        from_ms = None if self._since_ms is None else self._since_ms - CLOCKS_MS
        total = await self._reader.count(from_ms)
        after, done = -1, 0
        while keys := await self._reader.keys(after, from_ms):
            for key in keys:
                async with self._session.transaction():
                    async for frame in self._execution(key):
                        yield frame
                done += 1
                self._progress(done, max(done, total))
            after = keys[-1]

    async def _execution(self, key: int) -> AsyncIterator[Frame]:
        found = await self._reader.execution(key)
        if found is None:
            return
        definition_id = found.execution.row.definition_id
        texts = await self._reader.definition(definition_id)
        problem = _problem(found, has_definition=bool(texts))
        if problem:
            self.problems.append(f"{found.execution.row.execution_id}: {problem}")
            return
        if definition_id not in self._definitions:
            self._definitions.add(definition_id)
            yield TableFrame(DEFINITIONS, texts)
        yield ExecutionFrame(found.execution)
        async for sha256, in_record, value in self._reader.payloads(key):
            yield PayloadFrame(sha256, in_record, value)
        async for records in self._reader.records(key):
            yield RecordsFrame(records)
        if found.execution.snapshot_seq:
            yield SnapshotFrame(await self._reader.snapshot(key))
        self.executions += 1


def _problem(found: Found, *, has_definition: bool) -> str:
    """Return why an execution cannot be moved; empty if it can."""
    missing = found.execution.last_seq - found.records
    if missing:
        return f"{missing} of {found.execution.last_seq} records are missing"
    if not found.records:
        return "it has no records"
    return "" if has_definition else "its definition is missing"
