"""The reads and writes of a group of appends, in as few SQL steps as possible.

Python releases its interpreter lock around every step of a statement, and may wait for a busy event
loop to get it back. So the writer reads everything in one step, and inserts many rows with one
statement.

Used by `stores/sqlite/writer.py`.
"""

import sqlite3
from collections import Counter
from collections.abc import Sequence
from itertools import chain, count
from typing import Final

import msgspec

from rillflow.ids import ExecutionId
from rillflow.ports.storage.store import Append
from rillflow.stores.append_plan import (
    EXECUTION_COLUMNS,
    AppendPlan,
    Family,
    KeyOfFeature,
    Place,
    Totals,
    ancestors_of,
    idempotency_keys_of,
    with_late_snapshots,
)
from rillflow.stores.sqlite.schema import VERSION, refuse_upgraded

NEWEST_KEY: Final = """
SELECT max((SELECT coalesce(max(key), 0) FROM executions),
    (SELECT coalesce(max(execution), 0) FROM stored_bytes))
"""
"""The highest key of an execution, also of one that is removed and of which parts remain."""
_READ: Final = f"""
SELECT
    (SELECT user_version FROM pragma_user_version),
    ({NEWEST_KEY}),
    (SELECT json_group_array(json_array(partition, epoch)) FROM owners
        WHERE partition IN (SELECT value FROM json_each(?1))),
    (SELECT json_group_array(json_array(execution_id, executions.key, coalesce(
            (SELECT max(seq) FROM journal WHERE execution = executions.key),
            (SELECT seq FROM snapshots WHERE execution = executions.key), 0)))
        FROM json_each(?2) AS wanted CROSS JOIN executions ON execution_id = wanted.value),
    (SELECT json_group_array(json_array(business, feature, idempotency_key))
        FROM json_each(?3) AS wanted CROSS JOIN executions
            ON business = json_extract(wanted.value, '$[0]')
            AND feature = json_extract(wanted.value, '$[1]')
            AND idempotency_key = json_extract(wanted.value, '$[2]'))
"""  # noqa: S608 - own text
_UPDATE_OUTCOMES: Final = """
UPDATE executions SET status = json_extract(value, '$[1]'), code = json_extract(value, '$[2]'),
    finished_at_ms = json_extract(value, '$[3]')
FROM json_each(?) WHERE executions.key = json_extract(value, '$[0]')
"""
_PUT_PAYLOAD: Final = """
INSERT INTO payloads (execution, sha256, in_record, value) VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET in_record = 1 WHERE in_record < excluded.in_record
"""
_DROP_PAYLOADS: Final = """
DELETE FROM payloads WHERE execution = ? AND NOT in_record
AND hex(sha256) NOT IN (SELECT value FROM json_each(?))
"""
_HAS_PAYLOAD: Final = "SELECT 1 FROM payloads WHERE execution = ? AND sha256 = ?"
_DROPPED_BYTES: Final = """
SELECT coalesce(sum(length(value)), 0) FROM payloads WHERE execution = ? AND NOT in_record
AND hex(sha256) NOT IN (SELECT value FROM json_each(?))
"""
# A snapshot replaces an earlier one, which has been counted.
_COUNT_BYTES: Final = """
INSERT INTO stored_bytes (execution, workspace, elsewhere, bytes) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (execution) DO UPDATE SET bytes = bytes + excluded.bytes
    - CASE WHEN ?5 THEN
        coalesce((SELECT length(snapshot) FROM snapshots WHERE execution = ?1), 0) ELSE 0 END
"""
_UPDATE_RESTS: Final = (
    "UPDATE executions SET rests = ? WHERE key IN (SELECT value FROM json_each(?))"
)

_DROP_SEARCH_KEYS: Final = "DELETE FROM search_keys WHERE key IN (SELECT value FROM json_each(?))"
_PUT_SEARCH_KEYS: Final = """
INSERT INTO search_keys
    (key, name, value, business, feature, status, submitted_at_ms, definition_id)
SELECT executions.key, json_extract(given.value, '$[1]'), json_extract(given.value, '$[2]'),
    business, feature, status, submitted_at_ms, definition_id
FROM json_each(?) AS given CROSS JOIN executions
    ON executions.key = json_extract(given.value, '$[0]')
"""

_FAMILIES: Final = """
SELECT execution_id, executions.key, coalesce(started, 0)
FROM json_each(?) AS wanted CROSS JOIN executions ON execution_id = wanted.value
    LEFT JOIN descendants ON execution = executions.key
"""

_SNAPSHOT_SEQS: Final = """
SELECT execution_id, seq
FROM json_each(?) AS wanted CROSS JOIN executions ON execution_id = wanted.value
    JOIN snapshots ON execution = executions.key
"""

_MOST_AT_ONCE: Final = 64


class _Insert:
    """Inserts rows of one table, up to 64 with one statement."""

    def __init__(self, table: str, columns: str, *, verb: str = "INSERT") -> None:
        row = f"({', '.join('?' for _ in columns.split(','))})"
        self._by_rows = tuple(
            f"{verb} INTO {table} ({columns}) VALUES {', '.join([row] * rows)}"
            for rows in range(1, _MOST_AT_ONCE + 1)
        )

    def run(self, connection: sqlite3.Connection, rows: Sequence[tuple[object, ...]]) -> None:
        for start in range(0, len(rows), _MOST_AT_ONCE):
            some = rows[start : start + _MOST_AT_ONCE]
            values = chain.from_iterable(some)
            connection.execute(self._by_rows[len(some) - 1], tuple(values))


_INSERT_RECORDS: Final = _Insert("journal", "execution, seq, record")
_INSERT_EXECUTIONS: Final = _Insert("executions", EXECUTION_COLUMNS)
_PUT_DESCENDANTS: Final = _Insert("descendants", "execution, started", verb="INSERT OR REPLACE")
_PUT_SNAPSHOTS: Final = _Insert("snapshots", "execution, seq, snapshot", verb="INSERT OR REPLACE")

_json: Final = msgspec.json.Encoder()
_owners: Final = msgspec.json.Decoder(list[tuple[int, int]])
_places: Final = msgspec.json.Decoder(list[tuple[str, int, int]])
_taken_keys: Final = msgspec.json.Decoder(set[KeyOfFeature])


def plan_for(connection: sqlite3.Connection, appends: Sequence[Append]) -> AppendPlan:
    """Read, inside the writing transaction, what the append plan needs.

    Raises:
        StoreError: A newer release has upgraded the database meanwhile, and this one may not write.
        sqlite3.Error: The database could not be read.
    """
    scopes = _json.encode(list({append.fencing_scope for append in appends}))
    execution_ids = _json.encode(list({append.execution_id for append in appends}))
    keys = _json.encode(idempotency_keys_of(appends))
    wanted = (scopes.decode(), execution_ids.decode(), keys.decode())
    version, newest_key, owners, places, taken = connection.execute(_READ, wanted).fetchone()
    if version != VERSION:
        refuse_upgraded(connection)
    return AppendPlan(
        epochs=dict(_owners.decode(owners)),
        places={each: Place(key, last_seq) for each, key, last_seq in _places.decode(places)},
        keys=count(newest_key + 1),
        families=_families(connection, ancestors_of(appends)),
        snapshot_seqs=_snapshot_seqs(connection, with_late_snapshots(appends)),
        taken_keys=_taken_keys.decode(taken),
    )


def _families(
    connection: sqlite3.Connection, ancestors: Sequence[ExecutionId]
) -> dict[ExecutionId, Family]:
    if not ancestors:
        return {}
    rows = connection.execute(_FAMILIES, (_json.encode(ancestors).decode(),))
    return {each: Family(*facts) for each, *facts in rows}


def _snapshot_seqs(
    connection: sqlite3.Connection, wanted: Sequence[ExecutionId]
) -> dict[ExecutionId, int]:
    if not wanted:
        return {}
    return dict(connection.execute(_SNAPSHOT_SEQS, (_json.encode(wanted).decode(),)))


def write_plan(
    connection: sqlite3.Connection, plan: AppendPlan, totals: Totals | None = None
) -> None:
    """Write the rows of a plan, inside the transaction that read for it.

    ``totals`` counts their bytes.

    Raises:
        sqlite3.Error: The database could not be written.
    """
    _INSERT_EXECUTIONS.run(connection, plan.executions)
    _INSERT_RECORDS.run(connection, plan.records)
    _PUT_DESCENDANTS.run(connection, list(plan.descendants.items()))
    if plan.outcomes:
        outcomes = [(key, *outcome) for key, outcome in plan.outcomes.items()]
        connection.execute(_UPDATE_OUTCOMES, (_json.encode(outcomes).decode(),))
    for rests in set(plan.rests.values()):
        keys = [key for key, each in plan.rests.items() if each is rests]
        connection.execute(_UPDATE_RESTS, (rests, _json.encode(keys).decode()))
    payload_bytes = _write_payloads(connection, plan) if plan.payloads else None
    for row in totals.rows(plan, payload_bytes) if totals else ():
        connection.execute(_COUNT_BYTES, (*row, row.key in plan.snapshots))
    _PUT_SNAPSHOTS.run(connection, [(key, *kept) for key, kept in plan.snapshots.items()])
    if plan.search_values:
        _put_search_values(connection, plan)


def _write_payloads(connection: sqlite3.Connection, plan: AppendPlan) -> dict[int, int]:
    """Write the large values of a plan; return by how many bytes each execution has grown."""
    grown = Counter[int]()
    for payload in plan.payloads:
        found = connection.execute(_HAS_PAYLOAD, (payload.key, payload.sha256)).fetchone()
        connection.execute(_PUT_PAYLOAD, payload)
        if found is None:
            grown[payload.key] += len(payload.value)
    for key, wanted in plan.snapshot_payloads.items():
        hashes = _json.encode([sha256.hex().upper() for sha256 in wanted]).decode()
        ((dropped_bytes,),) = connection.execute(_DROPPED_BYTES, (key, hashes))
        if dropped_bytes:
            connection.execute(_DROP_PAYLOADS, (key, hashes))
            grown[key] -= dropped_bytes
    return grown


def _put_search_values(connection: sqlite3.Connection, plan: AppendPlan) -> None:
    """Replace the values of search keys, with what the rows of their executions say now."""
    connection.execute(_DROP_SEARCH_KEYS, (_json.encode(list(plan.search_values)).decode(),))
    rows = [(key, *each) for key, values in plan.search_values.items() for each in values]
    connection.execute(_PUT_SEARCH_KEYS, (_json.encode(rows).decode(),))
