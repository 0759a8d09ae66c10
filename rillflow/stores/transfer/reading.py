"""Reads of a database, a page at a time, for an export.

Used by `transfer/exporting.py`.
"""

from collections.abc import AsyncIterator
from typing import Any, Final, NamedTuple

from rillflow.stores.transfer.rows import COLUMNS, ExecutionRow, MovedExecution
from rillflow.stores.transfer.session import Session
from rillflow.stores.transfer.tables import TABLES, VERSIONS, Table

_BOOLEANS: Final = ("dedicated", "rests")
_EXECUTION: Final = f"""
SELECT {", ".join(COLUMNS)},
    coalesce((SELECT max(seq) FROM journal WHERE execution = key),
        (SELECT seq FROM snapshots WHERE execution = key), 0),
    coalesce((SELECT seq FROM snapshots WHERE execution = key), 0),
    (SELECT started FROM descendants WHERE execution = key),
    (SELECT count(*) FROM journal WHERE execution = key)
FROM executions WHERE key = ?
"""  # noqa: S608 - names of fields
_KEYS: Final = """
SELECT key FROM executions
WHERE key > ? AND (finished_at_ms IS NULL OR finished_at_ms >= ?) ORDER BY key LIMIT ?
"""
_COUNT: Final = (
    "SELECT count(*) FROM executions WHERE finished_at_ms IS NULL OR finished_at_ms >= ?"
)
_RECORDS: Final = (
    "SELECT seq, record FROM journal WHERE execution = ? AND seq > ? ORDER BY seq LIMIT ?"
)
_PAYLOADS: Final = "SELECT sha256, in_record FROM payloads WHERE execution = ?"
_PAYLOAD: Final = "SELECT value FROM payloads WHERE execution = ? AND sha256 = ?"
_SEARCH_VALUES: Final = "SELECT name, value FROM search_keys WHERE key = ? ORDER BY name"
_SNAPSHOT: Final = "SELECT snapshot FROM snapshots WHERE execution = ?"
_ALIASES: Final = """
SELECT DISTINCT business, feature, alias FROM versions
WHERE (business, feature, alias) > (?, ?, ?) ORDER BY business, feature, alias LIMIT ?
"""
_OF_ALIAS: Final = """
SELECT business, feature, alias, version, created_at_ms FROM versions
WHERE business = ? AND feature = ? AND alias = ? ORDER BY position
"""
_DEFINITION: Final = "SELECT definition_id, text FROM definitions WHERE definition_id = ?"
_EARLIEST_MS: Final = -(2**63)
PAGE: Final = 100
RECORDS_AT_ONCE: Final = 64


class Found(NamedTuple):
    """An execution with its key, and how many of its records are stored."""

    key: int
    execution: MovedExecution
    records: int


class Reader:
    """Reads what is moved; each page of it as of one moment."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def count(self, since_ms: int | None) -> int:
        """Return how many executions there are that are unfinished or have ended since."""
        [(count,)] = await self._session.rows(_COUNT, _from(since_ms))
        return int(count)

    async def keys(self, after: int, since_ms: int | None) -> list[int]:
        """List the keys of some executions, oldest first."""
        rows = await self._session.rows(_KEYS, after, _from(since_ms), PAGE)
        return [key for (key,) in rows]

    async def execution(self, key: int) -> Found | None:
        """Read the row of an execution; None if it was removed."""
        rows = await self._session.rows(_EXECUTION, key)
        if not rows:
            return None
        *columns, last_seq, snapshot_seq, descendants, records = rows[0]
        fields: dict[str, Any] = dict(zip(COLUMNS, columns, strict=True))
        fields |= {name: bool(fields[name]) for name in _BOOLEANS}
        values = await self._session.rows(_SEARCH_VALUES, key)
        found = MovedExecution(
            row=ExecutionRow(**fields),
            last_seq=last_seq,
            snapshot_seq=snapshot_seq,
            descendants=descendants,
            search_values=tuple((name, value) for name, value in values),
        )
        return Found(key, found, records)

    async def payloads(self, key: int) -> AsyncIterator[tuple[bytes, bool, bytes]]:
        """Yield the large values of an execution, one at a time."""
        for sha256, in_record in await self._session.rows(_PAYLOADS, key):
            for (value,) in await self._session.rows(_PAYLOAD, key, sha256):
                yield sha256, bool(in_record), value

    async def records(self, key: int) -> AsyncIterator[list[bytes]]:
        """Yield the records of an execution in their order, some at a time."""
        seq = 0
        while rows := await self._session.rows(_RECORDS, key, seq, RECORDS_AT_ONCE):
            yield [record for _, record in rows]
            seq = rows[-1][0]

    async def snapshot(self, key: int) -> bytes:
        """Read the snapshot of an execution that has one."""
        [(snapshot,)] = await self._session.rows(_SNAPSHOT, key)
        return bytes(snapshot)

    async def definition(self, definition_id: str) -> list[tuple[Any, ...]]:
        """Read the text of a definition, as a row; none if it is missing."""
        return await self._session.rows(_DEFINITION, definition_id)

    async def next_trigger_id(self) -> int:
        """Return the number that the next trigger without a name gets."""
        [(number,)] = await self._session.rows("SELECT next_id FROM trigger_counter")
        return int(number)

    async def table(self, name: str) -> AsyncIterator[list[tuple[Any, ...]]]:
        """Yield the rows of a table, some at a time; all versions of an alias together."""
        if name == VERSIONS:
            async for alias in self._aliases():
                yield await self._session.rows(_OF_ALIAS, *alias)
            return
        table = TABLES[name]
        after: tuple[Any, ...] = ()
        while rows := await self._page(name, table, after):
            yield [_typed(table, row) for row in rows]
            after = rows[-1][: table.key]

    async def _aliases(self) -> AsyncIterator[tuple[Any, ...]]:
        after: tuple[Any, ...] = ("", "", "")
        while rows := await self._session.rows(_ALIASES, *after, PAGE):
            for row in rows:
                yield row
            after = rows[-1]

    async def _page(self, name: str, table: Table, after: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        key = ", ".join(table.names[: table.key])
        marks = ", ".join("?" * table.key)
        where = f"WHERE ({key}) > ({marks})" if after else ""
        statement = f"SELECT {', '.join(table.names)} FROM {name} {where} ORDER BY {key} LIMIT ?"  # noqa: S608 - names of our tables
        return await self._session.rows(statement, *after, table.page)


def _typed(table: Table, row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a row with booleans, which SQLite does not have."""
    kinds = table.columns.values()
    return tuple(
        bool(value) if kind is bool else value for kind, value in zip(kinds, row, strict=True)
    )


def _from(since_ms: int | None) -> int:
    return _EARLIEST_MS if since_ms is None else since_ms
