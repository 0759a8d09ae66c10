"""The API keys and the audit of the PostgreSQL store.

Used by `stores/postgres/store.py`.
"""

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
from rillflow.stores.postgres.database import PostgresDatabase

_LOCK: Final = "LOCK TABLE api_keys IN SHARE ROW EXCLUSIVE MODE"
_PUT: Final = """
INSERT INTO api_keys (name, key) SELECT $1, $2 WHERE (SELECT count(*) FROM api_keys) < $3
ON CONFLICT DO NOTHING RETURNING name
"""
_READ_ALL: Final = "SELECT key FROM api_keys ORDER BY name"
_READ: Final = "SELECT key FROM api_keys WHERE name = $1 FOR UPDATE"
_CHANGE: Final = "UPDATE api_keys SET key = $1 WHERE name = $2"
_NOTE: Final = "INSERT INTO audit (at_ms, workspace, entry) VALUES ($1, $2, $3)"
_ENTRIES: Final = """
SELECT number, entry FROM audit
WHERE ($1::bigint IS NULL OR number < $1) AND (cardinality($2::text[]) = 0 OR workspace = ANY ($2))
ORDER BY number DESC LIMIT $3
"""
_TRIM: Final = """
WITH old AS (
    DELETE FROM audit WHERE number IN (SELECT number FROM audit WHERE at_ms < $1 LIMIT $2)
    RETURNING number
) SELECT count(*)::text FROM old
"""


class PostgresApiKeys:
    """The keys by name; see the ``ApiKeys`` port."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def add_api_key(self, key: ApiKey, *, most: int) -> bool:
        """Keep a key, if its name is free and there is room."""
        async with self._database.transaction() as connection:
            await connection.execute(_LOCK)
            put = await connection.fetchval(_PUT, key.name, encode_key(key), most)
            return put is not None

    async def api_keys(self) -> list[ApiKey]:
        """List all keys by name."""
        return [decode_key(text) for (text,) in await self._database.rows_promptly(_READ_ALL)]

    async def revoke_api_key(self, name: str, *, at_ms: int) -> bool:
        """Revoke a key."""
        async with self._database.transaction() as connection:
            text = await connection.fetchval(_READ, name)
            if text is None:
                return False
            key = decode_key(text)
            if key.revoked_at_ms is None:
                revoked = msgspec.structs.replace(key, revoked_at_ms=at_ms)
                await connection.execute(_CHANGE, encode_key(revoked), name)
            return True


class PostgresAudit:
    """The entries by number; see the ``Audit`` port."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def note_audit(self, entries: Sequence[AuditEntry]) -> None:
        """Add entries."""
        rows = [(each.at_ms, each.workspace, encode_entry(each)) for each in entries]
        async with self._database.transaction() as connection:
            await connection.executemany(_NOTE, rows)

    async def audit_entries(
        self, *, before: int | None = None, workspaces: Sequence[str] = (), limit: int
    ) -> list[NumberedEntry]:
        """List entries, the newest first."""
        found = await self._database.scan(_ENTRIES, before, list(workspaces), limit)
        return [NumberedEntry(number, decode_entry(text)) for number, text in found]

    async def trim_audit(self, *, before_ms: int, limit: int) -> int:
        """Remove old entries."""
        async with self._database.transaction() as connection:
            return int(await connection.fetchval(_TRIM, before_ms, limit))
