"""The API keys of the PostgreSQL store.

Used by `stores/postgres/store.py`.
"""

from typing import Final

import msgspec

from rillflow.ports.api_keys import ApiKey, decode_key, encode_key
from rillflow.stores.postgres.database import PostgresDatabase

_LOCK: Final = "LOCK TABLE api_keys IN SHARE ROW EXCLUSIVE MODE"
_PUT: Final = """
INSERT INTO api_keys SELECT $1, $2 WHERE (SELECT count(*) FROM api_keys) < $3
ON CONFLICT DO NOTHING RETURNING name
"""
_READ_ALL: Final = "SELECT key FROM api_keys ORDER BY name"
_READ: Final = "SELECT key FROM api_keys WHERE name = $1 FOR UPDATE"
_CHANGE: Final = "UPDATE api_keys SET key = $1 WHERE name = $2"


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
        return [decode_key(text) for text in await self._database.column(_READ_ALL)]

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
