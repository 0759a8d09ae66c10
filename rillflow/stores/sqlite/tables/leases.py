"""The leases of the SQLite store.

Used by `stores/sqlite/store.py`.
"""

import sqlite3
from typing import Final

from rillflow.ports.storage.lease import Lease, OwnerLease, decode_lease, encode_lease
from rillflow.stores.sqlite.database import SqliteDatabase

# Seconds since the epoch, by the clock of this machine.
_READ: Final = """
SELECT lease, (julianday('now') - 2440587.5) * 86400.0 - renewed_s FROM lease
"""
_FIRST: Final = """
INSERT OR IGNORE INTO lease (only, turn, lease, renewed_s)
VALUES (1, ?, ?, (julianday('now') - 2440587.5) * 86400.0)
"""
_NEXT: Final = """
UPDATE lease SET turn = ?, lease = ?,
    renewed_s = CASE WHEN ? THEN (julianday('now') - 2440587.5) * 86400.0 ELSE renewed_s END
WHERE turn = ?
"""
_TAKE_OWN: Final = """
INSERT INTO owner_leases (name, life, renewals) VALUES (?, ?, 0)
ON CONFLICT (name) DO UPDATE SET life = excluded.life, renewals = 0
"""
_RENEW_OWN: Final = "UPDATE owner_leases SET renewals = renewals + 1 WHERE name = ? AND life = ?"
_READ_OWN: Final = "SELECT name, life, renewals FROM owner_leases ORDER BY name"


class SqliteLeases:
    """The one lease; see the ``Leases`` port. Whoever uses the file has the same clock."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def lease(self) -> Lease | None:
        """Return the lease; None before the first."""
        rows = await self._database.glance_promptly(_READ)
        return decode_lease(*rows[0]) if rows else None

    async def set_lease(self, lease: Lease, *, renews: bool) -> bool:
        """Keep a lease, if it is the next one."""
        row = lease.turn, encode_lease(lease)

        def put(connection: sqlite3.Connection) -> bool:
            if lease.turn == 1:
                return connection.execute(_FIRST, row).rowcount == 1
            return connection.execute(_NEXT, (*row, renews, lease.turn - 1)).rowcount == 1

        return await self._database.write(put)


class SqliteOwnerLeases:
    """The leases by name; see the ``OwnerLeases`` port."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def take_owner_lease(self, name: str, life: str) -> None:
        """Give the lease of a name to a process."""

        def take(connection: sqlite3.Connection) -> None:
            connection.execute(_TAKE_OWN, (name, life))

        await self._database.write(take)

    async def renew_owner_lease(self, name: str, life: str) -> bool:
        """Renew a lease, if this process has it."""

        def renew(connection: sqlite3.Connection) -> bool:
            return connection.execute(_RENEW_OWN, (name, life)).rowcount == 1

        return await self._database.write(renew)

    async def owner_leases(self) -> list[OwnerLease]:
        """Return all leases by name."""
        return [OwnerLease(*row) for row in await self._database.glance_promptly(_READ_OWN)]
