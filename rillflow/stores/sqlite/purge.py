"""Removal of ended executions from SQLite, in transactions of a few megabytes.

Used by `stores/sqlite/journal.py`.
"""

import sqlite3
from collections.abc import Sequence
from typing import Final

import msgspec

from rillflow.ids import ExecutionId
from rillflow.ports.storage.store import ExecutionSummary
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
from rillflow.stores.sql.stored_rows import execution_summary

_PURGEABLE: Final = f"""
SELECT execution_id, business, feature, status, code, submitted_at_ms, finished_at_ms
FROM (
    SELECT key, execution_id, business, feature, status, code, submitted_at_ms, finished_at_ms,
        parent_id
    FROM executions
    WHERE finished_at_ms IS NOT NULL AND finished_at_ms < ?1
    ORDER BY finished_at_ms, key
    LIMIT CASE WHEN ?2 > 0 THEN max(0,
        (SELECT count(*) FROM executions WHERE finished_at_ms IS NOT NULL) - ?2) ELSE -1 END
) AS ended
WHERE {IS_FREE} LIMIT ?3
"""  # noqa: S608 - own text
# Looked up by keys, however much there is: it is asked again for each transaction.
_FOUND: Final = f"""
SELECT ended.key, ended.execution_id,
    coalesce((SELECT max(seq) FROM journal WHERE execution = ended.key)
        - (SELECT min(seq) FROM journal WHERE execution = ended.key) + 1, 0),
    coalesce((SELECT bytes FROM stored_bytes WHERE execution = ended.key), 0)
FROM json_each(?1) AS wanted CROSS JOIN executions AS ended ON ended.execution_id = wanted.value
WHERE ended.finished_at_ms < ?2 AND {IS_FREE}
"""  # noqa: S608 - own text
_ANY_OF: Final = "(SELECT value FROM json_each(?))"
_REMOVE_DEATHS: Final = f"""
DELETE FROM deaths
WHERE execution_id IN (SELECT execution_id FROM executions WHERE key IN {_ANY_OF})
"""  # noqa: S608 - own text
_REMOVE_PARTS: Final = (
    f"DELETE FROM journal WHERE execution IN {_ANY_OF}",  # noqa: S608 - own text
    f"DELETE FROM snapshots WHERE execution IN {_ANY_OF}",  # noqa: S608 - own text
    f"DELETE FROM payloads WHERE execution IN {_ANY_OF}",  # noqa: S608 - own text
    f"DELETE FROM stored_bytes WHERE execution IN {_ANY_OF}",  # noqa: S608 - own text
)
_REMOVE: Final = (
    f"DELETE FROM descendants WHERE execution IN {_ANY_OF}",  # noqa: S608 - own text
    f"DELETE FROM search_keys WHERE key IN {_ANY_OF}",  # noqa: S608 - own text
    _REMOVE_DEATHS,
    f"DELETE FROM executions WHERE key IN {_ANY_OF}",  # noqa: S608 - own text
)
_MARK_REMOVED: Final = f"""
INSERT INTO stored_bytes (execution, workspace, elsewhere, bytes)
SELECT value, '{REMOVED}', NULL, 0 FROM json_each(?) WHERE true
ON CONFLICT (execution) DO UPDATE SET workspace = excluded.workspace, elsewhere = NULL
"""  # noqa: S608 - own text


def list_purgeable(
    connection: sqlite3.Connection, ended_before_ms: int, keep: int, limit: int
) -> list[ExecutionSummary]:
    """List ended executions that nothing unfinished needs, the longest ended first."""
    rows = connection.execute(_PURGEABLE, (ended_before_ms, keep, limit))
    return [execution_summary(row) for row in rows]


def purge(
    connection: sqlite3.Connection,
    execution_ids: Sequence[ExecutionId],
    ended_before_ms: int,
    most_records: int,
) -> list[ExecutionId]:
    """Remove executions, inside a transaction; return those that another one has to remove."""
    rows = connection.execute(_FOUND, (_json(execution_ids), ended_before_ms))
    plan = purge_plan([Purgeable(*row) for row in rows], most_records)
    if plan.large:
        connection.execute(_MARK_REMOVED, (_json(plan.large),))
    for statement in _REMOVE_PARTS if plan.whole else ():
        connection.execute(statement, (_json(plan.whole),))
    for statement in _REMOVE if plan.whole or plan.large else ():
        connection.execute(statement, (_json(plan.whole + plan.large),))
    return plan.left


def purge_remains(connection: sqlite3.Connection, most_bytes: int) -> bool:
    """Delete parts of an execution that is removed, inside a transaction.

    Returns:
        Whether there were any, so that there may be more.
    """
    marked = connection.execute(NEXT_REMOVED).fetchone()
    if marked is None:
        return False
    key, left_bytes, least = marked[0], most_bytes, 1
    for list_parts, delete_parts in PARTS:
        parts = connection.execute(list_parts, (key, PARTS_AT_ONCE)).fetchall()
        number, size_bytes = parts_within([each[1] for each in parts], left_bytes, least=least)
        if number:
            connection.execute(delete_parts, (key, parts[number - 1][0]))
            left_bytes, least = left_bytes - size_bytes, 0
        if number < len(parts) or number == PARTS_AT_ONCE:
            return True
    connection.execute("DELETE FROM stored_bytes WHERE execution = ?", (key,))
    return True


def _json(values: Sequence[object]) -> str:
    return msgspec.json.encode(list(values)).decode()
