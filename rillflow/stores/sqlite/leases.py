"""The lease of the SQLite store.

Used by `stores/sqlite/store.py`.
"""

import sqlite3
from typing import Final

from rillflow.ports.lease import Lease, decode_lease, encode_lease
from rillflow.stores.sqlite.database import SqliteDatabase

# Seconds since the epoch, by the clock of this machine.
_READ: Final = """
SELECT lease, (julianday('now') - 2440587.5) * 86400.0 - renewed_s FROM lease
"""
_FIRST: Final = """
INSERT OR IGNORE INTO lease VALUES (1, ?, ?, (julianday('now') - 2440587.5) * 86400.0)
"""
_NEXT: Final = """
UPDATE lease SET turn = ?, lease = ?,
    renewed_s = CASE WHEN ? THEN (julianday('now') - 2440587.5) * 86400.0 ELSE renewed_s END
WHERE turn = ?
"""


class SqliteLeases:
    """The one lease; see the ``Leases`` port. Whoever uses the file has the same clock."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def lease(self) -> Lease | None:
        """Return the lease; None before the first."""
        rows = await self._database.glance(_READ)
        return decode_lease(*rows[0]) if rows else None

    async def set_lease(self, lease: Lease, *, renews: bool) -> bool:
        """Keep a lease, if it is the next one."""
        row = lease.turn, encode_lease(lease)

        def put(connection: sqlite3.Connection) -> bool:
            if lease.turn == 1:
                return connection.execute(_FIRST, row).rowcount == 1
            return connection.execute(_NEXT, (*row, renews, lease.turn - 1)).rowcount == 1

        return await self._database.write(put)
