"""The API keys and the audit of the SQLite store.

Used by `stores/sqlite/store.py`.
"""

import sqlite3
from collections.abc import Sequence
from typing import Final

import msgspec

from rillflow.ports.storage.access import (
    ApiKey,
    AuditEntry,
    NumberedEntry,
    decode_entry,
    decode_key,
    encode_entry,
    encode_key,
)
from rillflow.stores.sqlite.database import SqliteDatabase

_PUT: Final = """
INSERT OR IGNORE INTO api_keys (name, key)
SELECT ?, ? WHERE (SELECT count(*) FROM api_keys) < ?
"""
_READ_ALL: Final = "SELECT key FROM api_keys ORDER BY name"
_READ: Final = "SELECT key FROM api_keys WHERE name = ?"
_CHANGE: Final = "UPDATE api_keys SET key = ? WHERE name = ?"
_NOTE: Final = "INSERT INTO audit (at_ms, workspace, entry) VALUES (?, ?, ?)"
_TRIM: Final = """
DELETE FROM audit WHERE number IN (SELECT number FROM audit WHERE at_ms < ? LIMIT ?)
"""


class SqliteApiKeys:
    """The keys by name; see the ``ApiKeys`` port."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def add_api_key(self, key: ApiKey, *, most: int) -> bool:
        """Keep a key, if its name is free and there is room."""
        row = key.name, encode_key(key), most

        def put(connection: sqlite3.Connection) -> bool:
            return connection.execute(_PUT, row).rowcount == 1

        return await self._database.write(put)

    async def api_keys(self) -> list[ApiKey]:
        """List all keys by name."""
        return [decode_key(text) for (text,) in await self._database.glance_promptly(_READ_ALL)]

    async def revoke_api_key(self, name: str, *, at_ms: int) -> bool:
        """Revoke a key."""

        def revoke(connection: sqlite3.Connection) -> bool:
            row = connection.execute(_READ, (name,)).fetchone()
            if row is None:
                return False
            key = decode_key(row[0])
            if key.revoked_at_ms is None:
                revoked = msgspec.structs.replace(key, revoked_at_ms=at_ms)
                connection.execute(_CHANGE, (encode_key(revoked), name))
            return True

        return await self._database.write(revoke)


class SqliteAudit:
    """The entries by number; see the ``Audit`` port."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def note_audit(self, entries: Sequence[AuditEntry]) -> None:
        """Add entries."""
        rows = [(each.at_ms, each.workspace, encode_entry(each)) for each in entries]

        def put(connection: sqlite3.Connection) -> None:
            connection.executemany(_NOTE, rows)

        await self._database.write(put)

    async def audit_entries(
        self, *, before: int | None = None, workspaces: Sequence[str] = (), limit: int
    ) -> list[NumberedEntry]:
        """List entries, the newest first."""
        values: list[object] = []
        conditions = []
        if before is not None:
            conditions.append("number < ?")
            values.append(before)
        if workspaces:
            conditions.append(f"workspace IN ({', '.join('?' * len(workspaces))})")
            values += workspaces
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        query = f"SELECT number, entry FROM audit {where} ORDER BY number DESC LIMIT ?"  # noqa: S608 - only question marks
        values.append(limit)

        def read(connection: sqlite3.Connection) -> list[tuple[int, str]]:
            return connection.execute(query, values).fetchall()

        found = await self._database.scan(read)
        return [NumberedEntry(number, decode_entry(text)) for number, text in found]

    async def trim_audit(self, *, before_ms: int, limit: int) -> int:
        """Remove old entries."""

        def trim(connection: sqlite3.Connection) -> int:
            return connection.execute(_TRIM, (before_ms, limit)).rowcount

        return await self._database.write(trim)
