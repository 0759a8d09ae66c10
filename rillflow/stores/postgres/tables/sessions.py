"""The ended sessions of the PostgreSQL store.

Used by `stores/postgres/store.py`.
"""

from collections.abc import Sequence
from typing import Final

from rillflow.ports.storage.sessions import EndedSession
from rillflow.stores.postgres.database import PostgresDatabase

_PUT: Final = """
INSERT INTO ended_sessions (session_id, ends_ms) VALUES ($1, $2)
ON CONFLICT (session_id)
DO UPDATE SET ends_ms = greatest(ended_sessions.ends_ms, excluded.ends_ms)
"""
_REMOVE: Final = "DELETE FROM ended_sessions WHERE session_id = ANY($1)"
_READ: Final = "SELECT session_id, ends_ms FROM ended_sessions ORDER BY session_id"


class PostgresSessions:
    """The sessions that were ended before their time; see the ``EndedSessions`` port."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def end_sessions(
        self, ended: Sequence[EndedSession], *, removed: Sequence[str] = ()
    ) -> None:
        """Keep rows, and remove others."""
        # In the order of ids, so that replicas that do the same do not wait for each other's rows.
        async with self._database.transaction() as connection:
            await connection.executemany(_PUT, sorted(ended))
            if removed:
                await connection.execute(_REMOVE, sorted(removed))

    async def ended_sessions(self) -> list[EndedSession]:
        """List all rows by id."""
        return [EndedSession(*row) for row in await self._database.rows_promptly(_READ)]
