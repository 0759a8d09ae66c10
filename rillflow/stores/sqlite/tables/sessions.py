"""The ended sessions of the SQLite store.

Used by `stores/sqlite/store.py`.
"""

import sqlite3
from collections.abc import Sequence
from typing import Final

from rillflow.ports.storage.sessions import EndedSession
from rillflow.stores.sqlite.database import SqliteDatabase

_PUT: Final = """
INSERT INTO ended_sessions (session_id, ends_ms) VALUES (?, ?)
ON CONFLICT (session_id) DO UPDATE SET ends_ms = max(ends_ms, excluded.ends_ms)
"""
_REMOVE: Final = "DELETE FROM ended_sessions WHERE session_id = ?"
_READ: Final = "SELECT session_id, ends_ms FROM ended_sessions ORDER BY session_id"


class SqliteSessions:
    """The sessions that were ended before their time; see the ``EndedSessions`` port."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def end_sessions(
        self, ended: Sequence[EndedSession], *, removed: Sequence[str] = ()
    ) -> None:
        """Keep rows, and remove others."""

        def change(connection: sqlite3.Connection) -> None:
            connection.executemany(_PUT, ended)
            connection.executemany(_REMOVE, [(each,) for each in removed])

        await self._database.write(change)

    async def ended_sessions(self) -> list[EndedSession]:
        """List all rows by id."""
        return [EndedSession(*row) for row in await self._database.glance_promptly(_READ)]
