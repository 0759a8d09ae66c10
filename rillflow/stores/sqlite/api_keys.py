"""The API keys of the SQLite store.

Used by `stores/sqlite/store.py`.
"""

import sqlite3
from typing import Final

import msgspec

from rillflow.ports.api_keys import ApiKey, decode_key, encode_key
from rillflow.stores.sqlite.database import SqliteDatabase

_PUT: Final = """
INSERT OR IGNORE INTO api_keys SELECT ?, ? WHERE (SELECT count(*) FROM api_keys) < ?
"""
_READ_ALL: Final = "SELECT key FROM api_keys ORDER BY name"
_READ: Final = "SELECT key FROM api_keys WHERE name = ?"
_CHANGE: Final = "UPDATE api_keys SET key = ? WHERE name = ?"


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
        return [decode_key(text) for (text,) in await self._database.glance(_READ_ALL)]

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
