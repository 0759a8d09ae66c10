"""The ended sessions of the SQLite store.

Used by `stores/sqlite/store.py`.
"""

import sqlite3
from typing import Final

from rillflow.stores.sqlite.database import SqliteDatabase

_PUT: Final = "INSERT OR IGNORE INTO ended_sessions (session_id, ends_ms) VALUES (?, ?)"
_TRIM: Final = "DELETE FROM ended_sessions WHERE ends_ms <= ?"
_READ: Final = "SELECT session_id FROM ended_sessions WHERE ends_ms > ? ORDER BY session_id"


class SqliteSessions:
    """The sessions that were ended before their time; see the ``EndedSessions`` port."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def end_session(self, session_id: str, *, ends_ms: int, at_ms: int) -> None:
        """Keep that a session has ended."""

        def put(connection: sqlite3.Connection) -> None:
            connection.execute(_PUT, (session_id, ends_ms))
            connection.execute(_TRIM, (at_ms,))

        await self._database.write(put)

    async def ended_sessions(self, *, at_ms: int) -> list[str]:
        """List the sessions that were ended and would otherwise be valid."""
        return [each for (each,) in await self._database.glance(_READ, at_ms)]
