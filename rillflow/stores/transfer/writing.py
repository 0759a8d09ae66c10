"""Writes of moved rows, which change nothing that is there already and means something else.

Used by `transfer/importing.py`.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from rillflow.errors import ConflictError
from rillflow.stores.append_plan import EXECUTION_BYTES
from rillflow.stores.sql.triggers import NEXT_REVISION
from rillflow.stores.transfer.rows import CHANGING, COLUMNS, MovedExecution
from rillflow.stores.transfer.session import Session
from rillflow.stores.transfer.tables import TABLES, TEMPLATES, TRIGGERS, VERSIONS, Table

_STORED: Final = f"""
SELECT key, {", ".join(COLUMNS)}, coalesce((SELECT max(seq) FROM journal WHERE execution = key), 0)
FROM executions WHERE execution_id = ?
"""  # noqa: S608 - names of fields
_SAME_IDEMPOTENCY: Final = """
SELECT execution_id FROM executions WHERE business = ? AND feature = ? AND idempotency_key = ?
"""
_PUT_EXECUTION: Final = f"""
INSERT INTO executions (key, {", ".join(COLUMNS)}) VALUES (?, {", ".join("?" * len(COLUMNS))})
"""  # noqa: S608 - names of fields
_UPDATE: Final = (
    "UPDATE executions SET status = ?, code = ?, finished_at_ms = ?, rests = ? WHERE key = ?"
)
_RECORDS: Final = (
    "SELECT record FROM journal WHERE execution = ? AND seq >= ? AND seq < ? ORDER BY seq"
)
_PUT_RECORD: Final = "INSERT INTO journal (execution, seq, record) VALUES (?, ?, ?)"
_PUT_PAYLOAD: Final = """
INSERT INTO payloads (execution, sha256, in_record, value) VALUES (?, ?, ?, ?)
ON CONFLICT (execution, sha256) DO UPDATE SET in_record = excluded.in_record
WHERE excluded.in_record AND NOT payloads.in_record
"""
_PUT_SNAPSHOT: Final = """
INSERT INTO snapshots (execution, seq, snapshot) VALUES (?, ?, ?)
ON CONFLICT (execution) DO UPDATE SET seq = excluded.seq, snapshot = excluded.snapshot
WHERE excluded.seq > snapshots.seq
"""
_PUT_DESCENDANTS: Final = """
INSERT INTO descendants (execution, started) VALUES (?, ?)
ON CONFLICT (execution) DO UPDATE SET started = excluded.started
WHERE excluded.started > descendants.started
"""
_DROP_BYTES: Final = "DELETE FROM stored_bytes WHERE execution = ?"
# For its own workspace, also of a sub-flow that another one has started.
_COUNT_BYTES: Final = f"""
INSERT INTO stored_bytes (execution, workspace, elsewhere, bytes)
SELECT key, business, NULL, bytes FROM executions JOIN (
    SELECT (SELECT coalesce(sum(length(record)), 0) FROM journal WHERE execution = ?)
        + (SELECT coalesce(sum(length(value)), 0) FROM payloads WHERE execution = ?)
        + (SELECT coalesce(sum(length(snapshot)), 0) FROM snapshots WHERE execution = ?) AS bytes
) AS counted ON bytes > {EXECUTION_BYTES}
WHERE key = ?
"""  # noqa: S608 - a number of ours
_DROP_SEARCH_KEYS: Final = "DELETE FROM search_keys WHERE key = ?"
_PUT_SEARCH_KEY: Final = """
INSERT INTO search_keys
    (key, name, value, business, feature, status, submitted_at_ms, definition_id)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
_HAS_DEFINITION: Final = "SELECT 1 FROM definitions WHERE definition_id = ?"
_OF_ALIAS: Final = """
SELECT business, feature, alias, version, created_at_ms FROM versions
WHERE business = ? AND feature = ? AND alias = ? ORDER BY position
"""
_DROP_ALIAS: Final = "DELETE FROM versions WHERE business = ? AND feature = ? AND alias = ?"
_PUT_VERSION: Final = """
INSERT INTO versions (position, business, feature, alias, version, created_at_ms)
VALUES ({}, ?, ?, ?, ?, ?)
"""
_SAME_NAME: Final = "SELECT id FROM task_templates WHERE name = ? AND id <> ?"
_COUNT_TRIGGERS: Final = "UPDATE trigger_counter SET next_id = ? WHERE next_id < ?"


class Place(NamedTuple):
    """Where a moved execution is written.

    ``stored`` is how many of its records the database had before. ``is_behind`` says that it had
    more than are moved; then nothing is written.
    """

    key: int
    stored: int
    is_behind: bool = False


class Writer:
    """Writes into a database, inside a transaction that its caller holds.

    Attributes:
        changed: How many rows of tables were written.
    """

    def __init__(self, session: Session, *, updates: bool) -> None:
        """Write; ``updates`` says whether rows of tables replace other ones of their keys."""
        self._session = session
        self._updates = updates
        self.changed = 0

    async def put_rows(self, name: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Write rows of a table that are not there.

        Raises:
            ConflictError: One of another meaning is there, and is not to be replaced.
        """
        if name == VERSIONS:
            await self._put_versions(rows)
            return
        table = TABLES[name]
        key = " AND ".join(f"{each} = ?" for each in table.names[: table.key])
        look = f"SELECT {', '.join(table.names)} FROM {name} WHERE {key}"  # noqa: S608 - names of our tables
        for row in rows:
            found = await self._session.rows(look, *row[: table.key])
            if found and table.is_same(found[0], row):
                continue
            if found and not self._updates:
                raise _conflict(name, table, row)
            if found:
                await self._session.run(
                    f"DELETE FROM {name} WHERE {key}",  # noqa: S608 - names of our tables
                    *row[: table.key],
                )
            await self._put_row(name, table, row)
        if name == TEMPLATES:
            await self._session.count_on_templates()

    async def _put_row(self, name: str, table: Table, row: tuple[Any, ...]) -> None:
        names, values, override = list(table.names), list(row), ""
        if name == TRIGGERS:
            [(revision, _)] = await self._session.rows(NEXT_REVISION, 0)
            names.append("revision")
            values.append(revision)
        if name == TEMPLATES:
            override = self._session.overrides_ids
            taken = await self._session.rows(_SAME_NAME, row[1], row[0])
            if taken:
                raise ConflictError(f"the name {row[1]!r} of a template is taken by {taken[0][0]}")
        marks = ", ".join("?" * len(names))
        await self._session.run(
            f"INSERT INTO {name} ({', '.join(names)}) {override}VALUES ({marks})",
            *values,
        )
        self.changed += 1

    async def _put_versions(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Make these the versions of an alias, the oldest first."""
        alias = rows[0][:3]
        found = await self._session.rows(_OF_ALIAS, *alias)
        if found == list(rows):
            return
        if found and not self._updates:
            raise ConflictError(
                f"the alias {':'.join(alias)} has other versions here than in the file"
            )
        await self._session.run(_DROP_ALIAS, *alias)
        for row in rows:
            await self._session.run(_PUT_VERSION.format(self._session.next_position), *row)
        self.changed += len(rows)

    async def count_triggers(self, next_id: int) -> None:
        """Have triggers without a name get numbers that no moved one has."""
        await self._session.run(_COUNT_TRIGGERS, next_id, next_id)

    async def has_definition(self, definition_id: str) -> bool:
        """Tell whether the text of a definition is there."""
        return bool(await self._session.rows(_HAS_DEFINITION, definition_id))

    async def begin(self, moved: MovedExecution) -> Place:
        """Write the row of an execution, unless it is there; its records follow.

        Raises:
            ConflictError: An execution of this id, or of this idempotency key, is another one.
        """
        row = moved.row
        values = tuple(getattr(row, name) for name in COLUMNS)
        found = await self._session.rows(_STORED, row.execution_id)
        if found:
            key, *stored, last_seq = found[0]
            self._refuse_other(row.execution_id, stored, values)
            return Place(key, last_seq, is_behind=last_seq > moved.last_seq)
        if row.idempotency_key is not None:
            same = (row.business, row.feature, row.idempotency_key)
            for (other,) in await self._session.rows(_SAME_IDEMPOTENCY, *same):
                raise ConflictError(
                    f"{row.execution_id} has the idempotency key of {other}, which is here"
                )
        key = await self._session.new_key()
        await self._session.run(_PUT_EXECUTION, key, *values)
        return Place(key, 0)

    def _refuse_other(
        self, execution_id: str, stored: Sequence[object], moved: Sequence[object]
    ) -> None:
        for name, mine, other in zip(COLUMNS, stored, moved, strict=True):
            if name not in CHANGING and mine != other:
                raise ConflictError(f"{execution_id} is here with another {name}")

    async def payload(self, place: Place, sha256: bytes, value: bytes, *, in_record: bool) -> None:
        """Write a large value of an execution."""
        if not place.is_behind:
            await self._session.run(_PUT_PAYLOAD, place.key, sha256, in_record, value)

    async def records(
        self, place: Place, execution_id: str, first_seq: int, records: Sequence[bytes]
    ) -> None:
        """Write those records of an execution that are not there.

        Raises:
            ConflictError: One of them is there, and is another one.
        """
        end = first_seq + len(records)
        if first_seq <= place.stored:
            rows = await self._session.rows(_RECORDS, place.key, first_seq, end)
            for number, (record,) in enumerate(rows):
                if record != records[number]:
                    seq = first_seq + number
                    raise ConflictError(f"{execution_id} is here with another record {seq}")
        new = [
            (place.key, seq, record)
            for seq, record in enumerate(records, start=first_seq)
            if seq > place.stored
        ]
        if new:
            await self._session.run_many(_PUT_RECORD, new)

    async def end(self, place: Place, moved: MovedExecution, snapshot: bytes | None) -> bool:
        """Write what changes while an execution runs; return whether anything was new."""
        if place.is_behind:
            return False
        if snapshot is not None:
            await self._session.run(_PUT_SNAPSHOT, place.key, moved.snapshot_seq, snapshot)
        if moved.descendants is not None:
            await self._session.run(_PUT_DESCENDANTS, place.key, moved.descendants)
        await self._session.run(_DROP_BYTES, place.key)
        await self._session.run(_COUNT_BYTES, *[place.key] * 4)
        if place.stored == moved.last_seq:
            return False
        row = moved.row
        outcome = (row.status, row.code, row.finished_at_ms, row.rests)
        await self._session.run(_UPDATE, *outcome, place.key)
        await self._session.run(_DROP_SEARCH_KEYS, place.key)
        facts = (row.business, row.feature, row.status, row.submitted_at_ms, row.definition_id)
        for name, value in moved.search_values:
            await self._session.run(_PUT_SEARCH_KEY, place.key, name, value, *facts)
        return True


def _conflict(name: str, table: Table, row: tuple[Any, ...]) -> ConflictError:
    key = ":".join(str(each)[:80] for each in row[: table.key])
    return ConflictError(
        f"the table {name} has {key} with another content: only a difference (`rillflow export"
        " --since`) replaces what is there"
    )
