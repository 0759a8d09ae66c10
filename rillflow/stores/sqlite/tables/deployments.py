"""The wanted state of a deployment in the SQLite store.

Used by `stores/sqlite/store.py`.
"""

import sqlite3
from typing import Final

from rillflow.ports.deployment import Deployment, decode_stored, encode_stored
from rillflow.stores.sqlite.database import SqliteDatabase

_READ: Final = "SELECT wanted FROM deployment"
_FIRST: Final = "INSERT OR IGNORE INTO deployment (only, version, wanted) VALUES (1, ?, ?)"
_NEXT: Final = "UPDATE deployment SET version = ?, wanted = ? WHERE version = ?"


class SqliteDeployments:
    """The one wanted state; see the ``Deployments`` port."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def deployment(self) -> Deployment | None:
        """Return the wanted state; None before the first."""
        rows = await self._database.glance_promptly(_READ)
        return decode_stored(rows[0][0]) if rows else None

    async def set_deployment(self, wanted: Deployment, *, after_version: int) -> bool:
        """Keep a wanted state, if it follows the stored one."""
        row = wanted.version, encode_stored(wanted)

        def put(connection: sqlite3.Connection) -> bool:
            if after_version:
                cursor = connection.execute(_NEXT, (*row, after_version))
            else:
                cursor = connection.execute(_FIRST, row)
            return cursor.rowcount == 1

        return await self._database.write(put)
