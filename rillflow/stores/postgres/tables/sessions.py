"""The ended sessions of the PostgreSQL store.

Used by `stores/postgres/store.py`.
"""

from typing import Final

from rillflow.stores.postgres.database import PostgresDatabase

_PUT: Final = """
INSERT INTO ended_sessions (session_id, ends_ms) VALUES ($1, $2) ON CONFLICT DO NOTHING
"""
_TRIM: Final = "DELETE FROM ended_sessions WHERE ends_ms <= $1"
_READ: Final = "SELECT session_id FROM ended_sessions WHERE ends_ms > $1 ORDER BY session_id"


class PostgresSessions:
    """The sessions that were ended before their time; see the ``EndedSessions`` port."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def end_session(self, session_id: str, *, ends_ms: int, at_ms: int) -> None:
        """Keep that a session has ended."""
        async with self._database.transaction() as connection:
            await connection.execute(_PUT, session_id, ends_ms)
            await connection.execute(_TRIM, at_ms)

    async def ended_sessions(self, *, at_ms: int) -> list[str]:
        """List the sessions that were ended and would otherwise be valid."""
        return await self._database.column(_READ, at_ms)
