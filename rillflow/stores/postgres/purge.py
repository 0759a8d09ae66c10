"""Removal of ended executions from PostgreSQL, in transactions of a few megabytes.

Used by `stores/postgres/journal.py`.
"""

from collections.abc import Sequence
from typing import Final

import asyncpg

from rillflow.ids import ExecutionId
from rillflow.stores.postgres.schema import PURGE_LOCK
from rillflow.stores.purge_plan import (
    IS_FREE,
    NEXT_REMOVED,
    PARTS,
    PARTS_AT_ONCE,
    REMOVED,
    Purgeable,
    parts_within,
    purge_plan,
)
from rillflow.stores.sql.searching import numbered

PURGEABLE: Final = f"""
SELECT execution_id, business, feature, status, code, submitted_at_ms, finished_at_ms
FROM (
    SELECT key, execution_id, business, feature, status, code, submitted_at_ms, finished_at_ms,
        parent_id
    FROM executions
    WHERE finished_at_ms IS NOT NULL AND finished_at_ms < $1
    ORDER BY finished_at_ms, key
    LIMIT CASE WHEN $2::bigint > 0 THEN greatest(0,
        (SELECT count(*) FROM executions WHERE finished_at_ms IS NOT NULL) - $2::bigint) END
) AS ended
WHERE {IS_FREE} LIMIT $3
"""  # noqa: S608 - own text
# Appends wait for this lock, so a stopped process must not keep it, and a purge gives up soon.
_LOCK: Final = """
SELECT CASE WHEN set_config('lock_timeout', '500ms', true) <> '' THEN pg_advisory_xact_lock($1) END
"""
# Looked up by keys, however much there is: it is asked again for each transaction.
_FOUND: Final = f"""
SELECT ended.key, ended.execution_id,
    coalesce((SELECT max(seq) FROM journal WHERE execution = ended.key)
        - (SELECT min(seq) FROM journal WHERE execution = ended.key) + 1, 0),
    coalesce((SELECT bytes FROM stored_bytes WHERE execution = ended.key), 0)
FROM unnest($1::text[]) WITH ORDINALITY AS wanted (id, place)
    JOIN executions AS ended ON ended.execution_id = wanted.id
WHERE ended.finished_at_ms < $2 AND {IS_FREE}
ORDER BY place
"""  # noqa: S608 - own text
# One statement, since each has appends wait for another answer. All parts see the same rows.
# The first argument are those that are removed whole, the second those of which parts remain.
_REMOVE: Final = f"""
WITH of_journal AS (DELETE FROM journal WHERE execution = ANY($1::bigint[])),
    of_snapshots AS (DELETE FROM snapshots WHERE execution = ANY($1::bigint[])),
    of_payloads AS (DELETE FROM payloads WHERE execution = ANY($1::bigint[])),
    of_bytes AS (DELETE FROM stored_bytes WHERE execution = ANY($1::bigint[])),
    marked AS (INSERT INTO stored_bytes (execution, workspace, elsewhere, bytes)
        SELECT key, '{REMOVED}', NULL, 0 FROM unnest($2::bigint[]) AS key
        ON CONFLICT (execution) DO UPDATE SET workspace = excluded.workspace, elsewhere = NULL),
    of_descendants AS (DELETE FROM descendants WHERE execution = ANY($1::bigint[] || $2::bigint[])),
    of_search_keys AS (DELETE FROM search_keys WHERE key = ANY($1::bigint[] || $2::bigint[])),
    of_deaths AS (DELETE FROM deaths WHERE execution_id IN
        (SELECT execution_id FROM executions WHERE key = ANY($1::bigint[] || $2::bigint[])))
DELETE FROM executions WHERE key = ANY($1::bigint[] || $2::bigint[])
"""  # noqa: S608 - own text
_PARTS: Final = tuple(tuple(map(numbered, statements)) for statements in PARTS)


async def purge(
    connection: asyncpg.Connection,
    execution_ids: Sequence[ExecutionId],
    ended_before_ms: int,
    most_records: int,
) -> list[ExecutionId]:
    """Remove executions, inside a transaction; return those that another one has to remove."""
    await connection.execute(_LOCK, PURGE_LOCK)
    # A later statement sees what was committed while this one waited.
    rows = await connection.fetch(_FOUND, list(execution_ids), ended_before_ms)
    plan = purge_plan([Purgeable(*row) for row in rows], most_records)
    if plan.whole or plan.large:
        await connection.execute(_REMOVE, plan.whole, plan.large)
    return plan.left


async def purge_remains(connection: asyncpg.Connection, most_bytes: int) -> bool:
    """Delete parts of an execution that is removed, inside a transaction; no append waits for it.

    Returns:
        Whether there were any, so that there may be more.
    """
    key = await connection.fetchval(NEXT_REMOVED)
    if key is None:
        return False
    left_bytes, least = most_bytes, 1
    for list_parts, delete_parts in _PARTS:
        parts = await connection.fetch(list_parts, key, PARTS_AT_ONCE)
        number, size_bytes = parts_within([each[1] for each in parts], left_bytes, least=least)
        if number:
            await connection.execute(delete_parts, key, parts[number - 1][0])
            left_bytes, least = left_bytes - size_bytes, 0
        if number < len(parts) or number == PARTS_AT_ONCE:
            return True
    await connection.execute("DELETE FROM stored_bytes WHERE execution = $1", key)
    return True
