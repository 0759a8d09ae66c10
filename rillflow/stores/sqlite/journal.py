"""The journal half of the SQLite store.

Used by `stores/sqlite/backup.py` and `stores/sqlite/store.py`.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from msgspec.structs import astuple

from rillflow.ids import ExecutionId, workspace_of
from rillflow.ports.storage.store import (
    DEATHS_KEPT_MS,
    Append,
    Death,
    ExecutionFilter,
    ExecutionSummary,
    StoredExecution,
)
from rillflow.stores.append_plan import are_small, total_of
from rillflow.stores.large_values import CutAhead, ReadLimit, joined, references, slimmed_beside
from rillflow.stores.sql.execution_filters import HAS_VALUE, IS_NULL, conditions_of
from rillflow.stores.sql.stored_rows import (
    COUNTED,
    damage_told,
    death_of,
    execution_summary,
    stored_execution,
)
from rillflow.stores.sqlite.connection import damage
from rillflow.stores.sqlite.database import SqliteDatabase
from rillflow.stores.sqlite.purge import list_purgeable, purge, purge_remains
from rillflow.stores.sqlite.reading import OWN

_ROW: Final = """
SELECT key, execution_id, business, feature, partition, definition_id, submitted_at_ms, dedicated,
    parent_id, status, rests, CASE WHEN length(snapshot) <= ?2 THEN snapshot END, coalesce(seq, 0),
    coalesce(length(snapshot), 0)
FROM executions LEFT JOIN snapshots ON execution = key WHERE execution_id = ?1
"""
_ANY_OF: Final = "(SELECT value FROM json_each(?))"
_RECORDS: Final = "SELECT record FROM journal WHERE execution = ? AND seq > ? ORDER BY seq"
_PAYLOAD: Final = """
SELECT length(value), CASE WHEN length(value) <= ?3 THEN value END
FROM payloads WHERE execution = ?1 AND sha256 = ?2
"""
_NEWEST_EPOCH: Final = """
SELECT coalesce(max(epoch), 0) FROM owners WHERE partition IN (SELECT value FROM json_each(?))
"""
_UNFINISHED: Final = """
SELECT execution_id FROM executions
WHERE partition IN (SELECT value FROM json_each(?)) AND finished_at_ms IS NULL AND NOT rests
ORDER BY submitted_at_ms, key
"""
_ENDED: Final = """
SELECT execution_id, finished_at_ms FROM executions
WHERE finished_at_ms >= ?2 AND partition IN (SELECT value FROM json_each(?1))
ORDER BY finished_at_ms DESC LIMIT ?3
"""
_NOTE_DEATH: Final = """
INSERT OR IGNORE INTO deaths (execution_id, life, step, at_ms) VALUES (?, ?, ?, ?)
"""
_DROP_DEATHS: Final = """
DELETE FROM deaths WHERE at_ms < ? AND NOT EXISTS
    (SELECT 1 FROM executions WHERE executions.execution_id = deaths.execution_id)
"""
_DEATHS: Final = "SELECT execution_id, life, step, at_ms FROM deaths"
_FORGET_DEATHS: Final = "DELETE FROM deaths WHERE execution_id = ?1 AND step = coalesce(?2, step)"
_IDEMPOTENT: Final = """
SELECT execution_id, coalesce(request_digest, '') FROM executions
WHERE business = ? AND feature = ? AND idempotency_key = ?
"""
_CHILDREN: Final = """
SELECT execution_id FROM executions WHERE parent_id = ? ORDER BY submitted_at_ms, key
"""
_STORED_PARENTS: Final = """
SELECT child.execution_id, parent.execution_id FROM json_each(?) AS wanted
    CROSS JOIN executions AS child ON child.execution_id = wanted.value
    CROSS JOIN executions AS parent ON parent.execution_id = child.parent_id
"""
_SUMMARIES: Final = """
SELECT execution_id, business, feature, status, code, submitted_at_ms, finished_at_ms
FROM executions
"""
_STORED_BYTES: Final = COUNTED.format("?1")


class SqliteJournal:
    """Executions, their records, and who owns them; see the ``Journal`` port."""

    def __init__(self, database: SqliteDatabase, large_value_bytes: int) -> None:
        self._database = database
        self._large_value_bytes = large_value_bytes

    async def take_scopes(self, scopes: Sequence[int]) -> int:
        """Raise the one epoch counter and put its new value on the scopes."""
        taken = [(scope,) for scope in scopes]

        def take(connection: sqlite3.Connection) -> int:
            connection.execute("UPDATE epochs SET newest = newest + 1")
            connection.executemany(
                "INSERT OR REPLACE INTO owners (partition, epoch) SELECT ?, newest FROM epochs",
                taken,
            )
            ((epoch,),) = connection.execute("SELECT newest FROM epochs")
            return int(epoch)

        return await self._database.write(take)

    async def newest_epoch(self, scopes: Sequence[int]) -> int:
        """Return the newest epoch under which any of some scopes was taken, 0 for none."""
        wanted = msgspec.json.encode(list(scopes)).decode()

        def look(connection: sqlite3.Connection) -> int:
            ((epoch,),) = connection.execute(_NEWEST_EPOCH, (wanted,))
            return int(epoch)

        return await self._database.look_up_promptly(look)

    async def append(self, appends: Sequence[Append]) -> None:
        """Write all appends in one transaction, durably, with other callers' appends."""
        limit = self._large_value_bytes
        if not are_small(appends, limit):
            appends = await slimmed_beside(appends, limit)
        await self._database.append(appends)

    def cut_ahead(self, texts: Sequence[bytes]) -> CutAhead:
        """Find the large values of texts before they are appended."""
        return CutAhead(texts, self._large_value_bytes)

    async def load(
        self, execution_id: ExecutionId, most_bytes: int | None = None
    ) -> StoredExecution | None:
        """Read an execution with its snapshot and later records; None when unknown."""

        def load(connection: sqlite3.Connection) -> StoredExecution | None:
            with damage_told(execution_id, (sqlite3.Error, OSError), damage):
                return load_execution(connection, execution_id, most_bytes)

        return await self._database.look_up(load, reader=workspace_of(execution_id))

    async def unfinished(self, listings: Sequence[int]) -> list[ExecutionId]:
        """List unfinished executions of these partitions that do not rest, oldest first."""
        wanted = msgspec.json.encode(list(listings)).decode()
        return await self._database.scan(
            lambda connection: [each for (each,) in connection.execute(_UNFINISHED, (wanted,))],
            reader=OWN,
        )

    async def ended_since(
        self, partitions: Sequence[int], *, since_ms: int, limit: int
    ) -> list[tuple[ExecutionId, int]]:
        """List executions of partitions that ended at a time or later, and when, the last first."""
        wanted = msgspec.json.encode(list(partitions)).decode()
        return await self._database.scan(
            lambda connection: connection.execute(_ENDED, (wanted, since_ms, limit)).fetchall(),
            reader=OWN,
        )

    async def note_death(self, death: Death) -> None:
        """Keep a death; keeping it again changes nothing."""

        def note(connection: sqlite3.Connection) -> None:
            connection.execute(_NOTE_DEATH, astuple(death))
            connection.execute(_DROP_DEATHS, (death.at_ms - DEATHS_KEPT_MS,))

        await self._database.write(note)

    async def deaths(self) -> list[Death]:
        """List the deaths that are kept, in no order; there are few."""
        return await self._database.look_up(
            lambda connection: [death_of(row) for row in connection.execute(_DEATHS)],
            reader=OWN,
        )

    async def forget_deaths(self, execution_id: ExecutionId, step: str | None = None) -> None:
        """Forget the deaths of an execution, or only those in one step."""
        await self._database.write(
            lambda connection: connection.execute(_FORGET_DEATHS, (execution_id, step))
        )

    async def find_by_idempotency_key(
        self, business: str, feature: str, key: str
    ) -> tuple[ExecutionId, str] | None:
        """Return the execution submitted under a key, with the digest of its request."""
        return await self._database.look_up_promptly(
            lambda connection: connection.execute(_IDEMPOTENT, (business, feature, key)).fetchone()
        )

    async def list_executions(
        self, wanted: ExecutionFilter, *, limit: int, offset: int = 0
    ) -> list[ExecutionSummary]:
        """List executions, newest submit time first."""
        condition, values = _where(wanted)
        query = f"{_SUMMARIES} {condition} ORDER BY submitted_at_ms DESC, key DESC LIMIT ? OFFSET ?"

        def summaries(connection: sqlite3.Connection) -> list[ExecutionSummary]:
            rows = connection.execute(query, (*values, limit, offset))
            return [execution_summary(row) for row in rows]

        return await self._database.scan(summaries)

    async def count_executions(self, wanted: ExecutionFilter) -> dict[str, int]:
        """Count executions by status."""
        condition, values = _where(wanted)
        query = f"SELECT status, count(*) FROM executions {condition} GROUP BY status"  # noqa: S608 - columns are our own, values are bound
        return await self._database.scan(
            lambda connection: dict(connection.execute(query, values).fetchall())
        )

    async def count_partitions(self, wanted: ExecutionFilter) -> dict[int, int]:
        """Count executions by partition."""
        condition, values = _where(wanted)
        query = f"SELECT partition, count(*) FROM executions {condition} GROUP BY partition"  # noqa: S608 - columns are our own, values are bound
        return await self._database.scan(
            lambda connection: dict(connection.execute(query, values).fetchall())
        )

    async def stored_bytes(self, workspace: str) -> int:
        """Return about how many bytes are stored for a workspace."""

        def count(connection: sqlite3.Connection) -> int:
            return total_of(*connection.execute(_STORED_BYTES, (workspace,)).fetchone())

        return await self._database.scan(count, reader=workspace)

    async def count_codes(self, wanted: ExecutionFilter) -> dict[str, int]:
        """Count ended executions by failure code; those without a code are left out."""
        condition, values = _where(wanted, "finished_at_ms IS NOT NULL AND code IS NOT NULL")
        query = f"SELECT code, count(*) FROM executions {condition} GROUP BY code"  # noqa: S608 - columns are our own, values are bound
        return await self._database.scan(
            lambda connection: dict(connection.execute(query, values).fetchall())
        )

    async def children(self, parent_id: ExecutionId) -> list[ExecutionId]:
        """List sub-flow executions started by an execution, oldest first."""
        return await self._database.look_up(
            lambda connection: [each for (each,) in connection.execute(_CHILDREN, (parent_id,))],
            reader=workspace_of(parent_id),
        )

    async def stored_parents(
        self, execution_ids: Sequence[ExecutionId]
    ) -> dict[ExecutionId, ExecutionId]:
        """Return the parents of executions, of those whose parents are stored."""
        wanted = msgspec.json.encode(list(execution_ids)).decode()
        return await self._database.scan(
            lambda connection: dict(connection.execute(_STORED_PARENTS, (wanted,)).fetchall()),
            reader=OWN,
        )

    async def purgeable(
        self, *, ended_before_ms: int, keep: int, limit: int
    ) -> list[ExecutionSummary]:
        """List ended executions that nothing unfinished needs, the longest ended first."""
        return await self._database.scan(
            lambda connection: list_purgeable(connection, ended_before_ms, keep, limit),
            reader=OWN,
        )

    async def purge(
        self, execution_ids: Sequence[ExecutionId], *, ended_before_ms: int, most_records: int
    ) -> list[ExecutionId]:
        """Remove executions in one transaction; return those left."""
        return await self._database.write(
            lambda connection: purge(connection, execution_ids, ended_before_ms, most_records),
            is_large=True,
        )

    async def purge_remains(self, *, most_bytes: int) -> bool:
        """Delete what remains of a large execution that was removed; tell if there was anything."""
        return await self._database.write(
            lambda connection: purge_remains(connection, most_bytes), is_large=True
        )


def load_execution(
    connection: sqlite3.Connection, execution_id: ExecutionId, most_bytes: int | None = None
) -> StoredExecution | None:
    """Read an execution with its snapshot and later records; None if unknown.

    Raises:
        LargeExecutionError: It has more than ``most_bytes``.
        StoreError: Something that it refers to is missing, or cannot be read.
        sqlite3.Error: Its rows cannot be read.
    """
    found = load_parts(connection, execution_id, most_bytes)
    return None if found is None else joined(*found)


def load_parts(
    connection: sqlite3.Connection, execution_id: ExecutionId, most_bytes: int | None = None
) -> tuple[StoredExecution, Mapping[bytes, bytes]] | None:
    """Read an execution as it is stored, and the large values to which it refers; None if unknown.

    Raises:
        LargeExecutionError: It would have more than ``most_bytes`` when it is put together.
        StoreError: Something of it cannot be read.
        sqlite3.Error: Its rows cannot be read.
    """
    limit = ReadLimit(execution_id, most_bytes)
    row = connection.execute(_ROW, (execution_id, limit.most_bytes)).fetchone()
    if row is None:
        return None
    key, *columns, snapshot_seq, snapshot_bytes = row
    limit.count(snapshot_bytes)
    records = connection.execute(_RECORDS, (key, snapshot_seq))
    texts = tuple(limit.counted(record) for (record,) in records)
    stored = stored_execution((*columns, snapshot_seq, texts))
    payloads: dict[bytes, bytes] = {}
    for sha256, times in references(stored).items():
        most_bytes = limit.left_bytes // times
        for size_bytes, payload in connection.execute(_PAYLOAD, (key, sha256, most_bytes)):
            limit.count(size_bytes * times)
            payloads[sha256] = payload
    return stored, payloads


def _where(wanted: ExecutionFilter, *more: str) -> tuple[str, tuple[object, ...]]:
    """Return a WHERE clause, empty if the filter selects everything, and its values."""
    clauses, values = list(more), list[object]()
    for column, operator, value in conditions_of(wanted):
        if operator == IS_NULL:
            clauses.append(f"{column} {operator}")
        elif operator == HAS_VALUE and isinstance(value, tuple):
            clauses.append(f"{column} {operator.format('?', '?')}")
            values += value
        elif isinstance(value, tuple):
            clauses.append(f"{column} {operator} {_ANY_OF}")
            values.append(msgspec.json.encode(value).decode())
        else:
            clauses.append(f"{column} {operator} ?")
            values.append(value)
    return (f"WHERE {' AND '.join(clauses)}" if clauses else ""), tuple(values)
