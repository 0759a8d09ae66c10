"""The journal half of the PostgreSQL store.

Used by `stores/postgres/store.py`.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Final

import asyncpg
from msgspec.structs import astuple

from rillflow.errors import DamagedError, StoreError
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
from rillflow.stores.postgres.database import OWN, PostgresDatabase
from rillflow.stores.postgres.purge import PURGEABLE, purge, purge_remains
from rillflow.stores.sql.execution_filters import HAS_VALUE, IS_NULL, conditions_of
from rillflow.stores.sql.stored_rows import (
    COUNTED,
    damage_told,
    death_of,
    execution_summary,
    stored_execution,
)

_NEXT_EPOCH: Final = "UPDATE epochs SET newest = newest + 1 RETURNING newest"
# Rows are locked in the order of partitions, as by the writers, so that none deadlock.
_TAKE: Final = """
INSERT INTO owners (partition, epoch)
SELECT partition, $2 FROM unnest($1::bigint[]) AS partition ORDER BY partition
ON CONFLICT (partition) DO UPDATE SET epoch = excluded.epoch
"""
# One statement, so that all parts see one state of the database.
_LOAD: Final = """
SELECT execution_id, business, feature, partition, definition_id, submitted_at_ms, dedicated,
    parent_id, status, rests, snapshot, coalesce(seq, 0), ARRAY(
        SELECT record FROM journal
        WHERE journal.execution = key AND journal.seq > coalesce(snapshots.seq, 0)
        ORDER BY journal.seq)
FROM executions LEFT JOIN snapshots ON execution = key WHERE execution_id = $1
"""
# The lengths of large values are known without reading them.
_SIZE: Final = """
SELECT coalesce(octet_length(snapshot), 0) + (
    SELECT coalesce(sum(octet_length(record)), 0) FROM journal
    WHERE journal.execution = key AND journal.seq > coalesce(snapshots.seq, 0))
FROM executions LEFT JOIN snapshots ON execution = key WHERE execution_id = $1
"""
_PAYLOAD_SIZES: Final = """
SELECT sha256, octet_length(value) FROM payloads
WHERE execution = (SELECT key FROM executions WHERE execution_id = $1)
    AND sha256 = ANY($2::bytea[])
"""
_PAYLOADS: Final = """
SELECT sha256, value FROM payloads
WHERE execution = (SELECT key FROM executions WHERE execution_id = $1)
    AND sha256 = ANY($2::bytea[])
"""
_NEWEST_EPOCH: Final = (
    "SELECT coalesce(max(epoch), 0) FROM owners WHERE partition = ANY($1::bigint[])"
)
_UNFINISHED: Final = """
SELECT execution_id FROM executions
WHERE partition = ANY($1::bigint[]) AND finished_at_ms IS NULL AND NOT rests
ORDER BY submitted_at_ms, key
"""
_ENDED: Final = """
SELECT execution_id, finished_at_ms FROM executions
WHERE finished_at_ms >= $2 AND partition = ANY($1::bigint[])
ORDER BY finished_at_ms DESC LIMIT $3
"""
_NOTE_DEATH: Final = """
INSERT INTO deaths (execution_id, life, step, at_ms) VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING
"""
_DROP_DEATHS: Final = """
DELETE FROM deaths WHERE at_ms < $1 AND NOT EXISTS
    (SELECT 1 FROM executions WHERE executions.execution_id = deaths.execution_id)
"""
_DEATHS: Final = "SELECT execution_id, life, step, at_ms FROM deaths"
_FORGET_DEATHS: Final = """
DELETE FROM deaths WHERE execution_id = $1 AND step = coalesce($2, step)
"""
_IDEMPOTENT: Final = """
SELECT execution_id, coalesce(request_digest, '') FROM executions
WHERE business = $1 AND feature = $2 AND idempotency_key = $3
"""
_CHILDREN: Final = """
SELECT execution_id FROM executions WHERE parent_id = $1 ORDER BY submitted_at_ms, key
"""
_STORED_PARENTS: Final = """
SELECT child.execution_id, parent.execution_id FROM executions AS child
    JOIN executions AS parent ON parent.execution_id = child.parent_id
WHERE child.execution_id = ANY($1::text[])
"""
_SUMMARIES: Final = """
SELECT execution_id, business, feature, status, code, submitted_at_ms, finished_at_ms
FROM executions
"""
_STORED_BYTES: Final = COUNTED.format("$1")
_AT_ONCE_BYTES: Final = 256 << 10
"""Large values are put into their positions in a thread if they have more."""


class PostgresJournal:
    """Executions, their records, and who owns them; see the ``Journal`` port."""

    def __init__(self, database: PostgresDatabase, large_value_bytes: int) -> None:
        self._database = database
        self._large_value_bytes = large_value_bytes

    async def take_scopes(self, scopes: Sequence[int]) -> int:
        """Raise the one epoch counter and put its new value on the scopes.

        Waits for appends of the former owners that are being committed.
        """
        async with self._database.transaction() as connection:
            epoch = int(await connection.fetchval(_NEXT_EPOCH))
            await connection.execute(_TAKE, list(set(scopes)), epoch)
        return epoch

    async def newest_epoch(self, scopes: Sequence[int]) -> int:
        """Return the newest epoch under which any of some scopes was taken, 0 for none."""
        ((epoch,),) = await self._database.rows_promptly(_NEWEST_EPOCH, list(scopes))
        return int(epoch)

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
        with damage_told(execution_id, (StoreError,), damage):
            try:
                return await self._load(execution_id, most_bytes)
            except DamagedError:
                # It may have been purged, or ended again, between the two queries.
                return await self._load(execution_id, most_bytes)

    async def _load(
        self, execution_id: ExecutionId, most_bytes: int | None
    ) -> StoredExecution | None:
        limit = ReadLimit(execution_id, most_bytes)
        read = partial(self._database.rows, reader=workspace_of(execution_id))
        if most_bytes is not None:
            for (size_bytes,) in await read(_SIZE, execution_id):
                limit.count(size_bytes)
        rows = await read(_LOAD, execution_id)
        if not rows:
            return None
        stored = stored_execution(rows[0])
        wanted = references(stored)
        if not wanted:
            return joined(stored, {})
        if most_bytes is not None:
            sizes = await read(_PAYLOAD_SIZES, execution_id, list(wanted))
            limit.count(sum(size_bytes * wanted[sha256] for sha256, size_bytes in sizes))
        payloads = dict(await read(_PAYLOADS, execution_id, list(wanted)))
        if sum(map(len, payloads.values())) <= _AT_ONCE_BYTES:
            return joined(stored, payloads)
        return await asyncio.to_thread(joined, stored, payloads)

    async def unfinished(self, listings: Sequence[int]) -> list[ExecutionId]:
        """List unfinished executions of these partitions that do not rest, oldest first."""
        rows = await self._database.scan(_UNFINISHED, list(listings), reader=OWN)
        return [ExecutionId(execution_id) for (execution_id,) in rows]

    async def ended_since(
        self, partitions: Sequence[int], *, since_ms: int, limit: int
    ) -> list[tuple[ExecutionId, int]]:
        """List executions of partitions that ended at a time or later, and when, the last first."""
        rows = await self._database.scan(_ENDED, list(partitions), since_ms, limit, reader=OWN)
        return [(row[0], row[1]) for row in rows]

    async def note_death(self, death: Death) -> None:
        """Keep a death; keeping it again changes nothing."""
        async with self._database.transaction() as connection:
            await connection.execute(_NOTE_DEATH, *astuple(death))
            await connection.execute(_DROP_DEATHS, death.at_ms - DEATHS_KEPT_MS)

    async def deaths(self) -> list[Death]:
        """List the deaths that are kept, in no order; there are few."""
        return [death_of(row) for row in await self._database.rows(_DEATHS, reader=OWN)]

    async def forget_deaths(self, execution_id: ExecutionId, step: str | None = None) -> None:
        """Forget the deaths of an execution, or only those in one step."""
        await self._database.execute(_FORGET_DEATHS, execution_id, step)

    async def find_by_idempotency_key(
        self, business: str, feature: str, key: str
    ) -> tuple[ExecutionId, str] | None:
        """Return the execution submitted under a key, with the digest of its request."""
        rows = await self._database.rows_promptly(_IDEMPOTENT, business, feature, key)
        return (rows[0][0], rows[0][1]) if rows else None

    async def list_executions(
        self, wanted: ExecutionFilter, *, limit: int, offset: int = 0
    ) -> list[ExecutionSummary]:
        """List executions, newest submit time first."""
        condition, values = _where(wanted)
        page = f"LIMIT ${len(values) + 1} OFFSET ${len(values) + 2}"
        query = f"{_SUMMARIES} {condition} ORDER BY submitted_at_ms DESC, key DESC {page}"
        rows = await self._database.scan(query, *values, limit, offset)
        return [execution_summary(row) for row in rows]

    async def count_executions(self, wanted: ExecutionFilter) -> dict[str, int]:
        """Count executions by status."""
        condition, values = _where(wanted)
        query = f"SELECT status, count(*) FROM executions {condition} GROUP BY status"  # noqa: S608 - columns are our own, values are bound
        return dict(await self._database.scan(query, *values))

    async def stored_bytes(self, workspace: str) -> int:
        """Return about how many bytes are stored for a workspace."""
        [(executions, more_bytes)] = await self._database.scan(
            _STORED_BYTES, workspace, reader=workspace
        )
        return total_of(executions, int(more_bytes))

    async def count_codes(self, wanted: ExecutionFilter) -> dict[str, int]:
        """Count ended executions by failure code; those without a code are left out."""
        condition, values = _where(wanted, "finished_at_ms IS NOT NULL AND code IS NOT NULL")
        query = f"SELECT code, count(*) FROM executions {condition} GROUP BY code"  # noqa: S608 - columns are our own, values are bound
        return dict(await self._database.scan(query, *values))

    async def count_partitions(self, wanted: ExecutionFilter) -> dict[int, int]:
        """Count executions by partition."""
        condition, values = _where(wanted)
        query = f"SELECT partition, count(*) FROM executions {condition} GROUP BY partition"  # noqa: S608 - columns are our own, values are bound
        return dict(await self._database.scan(query, *values))

    async def children(self, parent_id: ExecutionId) -> list[ExecutionId]:
        """List sub-flow executions started by an execution, oldest first."""
        return await self._database.column(_CHILDREN, parent_id, reader=workspace_of(parent_id))

    async def stored_parents(
        self, execution_ids: Sequence[ExecutionId]
    ) -> dict[ExecutionId, ExecutionId]:
        """Return the parents of executions, of those whose parents are stored."""
        return dict(await self._database.scan(_STORED_PARENTS, list(execution_ids), reader=OWN))

    async def purgeable(
        self, *, ended_before_ms: int, keep: int, limit: int
    ) -> list[ExecutionSummary]:
        """List ended executions that nothing unfinished needs, the longest ended first."""
        rows = await self._database.scan(PURGEABLE, ended_before_ms, keep, limit, reader=OWN)
        return [execution_summary(row) for row in rows]

    async def purge(
        self, execution_ids: Sequence[ExecutionId], *, ended_before_ms: int, most_records: int
    ) -> list[ExecutionId]:
        """Remove executions in one transaction; return those left."""
        async with self._database.transaction() as connection:
            return await purge(connection, execution_ids, ended_before_ms, most_records)

    async def purge_remains(self, *, most_bytes: int) -> bool:
        """Delete what remains of a large execution that was removed; tell if there was anything."""
        async with self._database.transaction() as connection:
            return await purge_remains(connection, most_bytes)


def damage(error: Exception) -> str | None:
    """Return what is wrong with the rows of a query; None if they are not the cause."""
    cause = error.__cause__
    is_damage = isinstance(cause, asyncpg.DataCorruptedError | asyncpg.IndexCorruptedError)
    return str(error) if is_damage else None


def _where(wanted: ExecutionFilter, *more: str) -> tuple[str, tuple[object, ...]]:
    """Return a WHERE clause, empty if the filter selects everything, and its values."""
    clauses, values = list(more), list[object]()
    for column, operator, value in conditions_of(wanted):
        placeholder = f"${len(values) + 1}"
        if operator == IS_NULL:
            clauses.append(f"{column} {operator}")
        elif operator == HAS_VALUE and isinstance(value, tuple):
            clauses.append(f"{column} {operator.format(placeholder, f'${len(values) + 2}')}")
            values += value
        elif isinstance(value, tuple):
            clauses.append(f"{column} = ANY({placeholder}::text[])")
            values.append(list(value))
        else:
            clauses.append(f"{column} {operator} {placeholder}")
            values.append(value)
    return (f"WHERE {' AND '.join(clauses)}" if clauses else ""), tuple(values)
