"""Removal of ended executions from PostgreSQL, in small transactions.

Used by `stores/postgres/journal.py`.
"""

from collections.abc import Sequence
from typing import Final

import asyncpg

from rillflow.ids import ExecutionId
from rillflow.stores.postgres.schema import PURGE_LOCK
from rillflow.stores.purge_plan import IS_FREE, Purgeable, purge_plan

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
_FOUND: Final = f"""
SELECT ended.key, ended.execution_id,
    (SELECT count(*) FROM journal WHERE execution = ended.key),
    (SELECT coalesce(min(seq), 0) FROM journal WHERE execution = ended.key),
    (SELECT coalesce(max(seq), 0) FROM snapshots WHERE execution = ended.key),
    (SELECT coalesce(sum(length(value)), 0)::bigint FROM payloads WHERE execution = ended.key)
FROM unnest($1::text[]) WITH ORDINALITY AS wanted (id, place)
    JOIN executions AS ended ON ended.execution_id = wanted.id
WHERE ended.finished_at_ms < $2 AND {IS_FREE}
ORDER BY place
"""  # noqa: S608 - own text
# One statement, since each has appends wait for another answer. All parts see the same rows.
_REMOVE: Final = """
WITH of_journal AS (DELETE FROM journal WHERE execution = ANY($1::bigint[])),
    of_snapshots AS (DELETE FROM snapshots WHERE execution = ANY($1::bigint[])),
    of_descendants AS (DELETE FROM descendants WHERE execution = ANY($1::bigint[])),
    of_bytes AS (DELETE FROM stored_bytes WHERE execution = ANY($1::bigint[])),
    of_search_keys AS (DELETE FROM search_keys WHERE key = ANY($1::bigint[])),
    of_payloads AS (DELETE FROM payloads WHERE execution = ANY($1::bigint[])),
    of_deaths AS (DELETE FROM deaths WHERE execution_id IN
        (SELECT execution_id FROM executions WHERE key = ANY($1::bigint[])))
DELETE FROM executions WHERE key = ANY($1::bigint[])
"""
_TRIM: Final = "DELETE FROM journal WHERE execution = $1 AND seq <= $2"


async def purge(
    connection: asyncpg.Connection,
    execution_ids: Sequence[ExecutionId],
    ended_before_ms: int,
    most_records: int,
) -> list[ExecutionId]:
    """Remove executions, or a part of one, inside a transaction; return those left."""
    await connection.execute(_LOCK, PURGE_LOCK)
    # A later statement sees what was committed while this one waited.
    rows = await connection.fetch(_FOUND, list(execution_ids), ended_before_ms)
    plan = purge_plan([Purgeable(*row) for row in rows], most_records)
    if plan.keys:
        await connection.execute(_REMOVE, plan.keys)
    if plan.trim is not None:
        await connection.execute(_TRIM, *plan.trim)
    return plan.left
