"""The leases of the PostgreSQL store.

Used by `stores/postgres/store.py`.
"""

from typing import Final

from rillflow.ports.storage.lease import Lease, OwnerLease, decode_lease, encode_lease
from rillflow.stores.postgres.database import PostgresDatabase

# Clocks of clients differ; that of the server is the same for all.
_READ: Final = """
SELECT lease, extract(epoch FROM clock_timestamp())::double precision - renewed_s FROM lease
"""
_FIRST: Final = """
INSERT INTO lease (only_one, turn, lease, renewed_s)
VALUES (1, $1, $2, extract(epoch FROM clock_timestamp()))
ON CONFLICT DO NOTHING RETURNING turn
"""
_NEXT: Final = """
UPDATE lease SET turn = $1, lease = $2,
    renewed_s = CASE WHEN $3 THEN extract(epoch FROM clock_timestamp()) ELSE renewed_s END
WHERE turn = $1 - 1 RETURNING turn
"""
_TAKE_OWN: Final = """
INSERT INTO owner_leases (name, life, renewals) VALUES ($1, $2, 0)
ON CONFLICT (name) DO UPDATE SET life = excluded.life, renewals = 0
"""
# A renewal need not survive a crash of the server, so its commit does not wait for the disk.
_RENEW_OWN: Final = """
UPDATE owner_leases SET renewals = renewals + 1
FROM (SELECT set_config('synchronous_commit', 'off', true)) AS unsynchronised
WHERE name = $1 AND life = $2 RETURNING name
"""
_READ_OWN: Final = "SELECT name, life, renewals FROM owner_leases ORDER BY name"


class PostgresLeases:
    """The one lease; see the ``Leases`` port."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def lease(self) -> Lease | None:
        """Return the lease; None before the first."""
        rows = await self._database.rows_promptly(_READ)
        return decode_lease(*rows[0]) if rows else None

    async def set_lease(self, lease: Lease, *, renews: bool) -> bool:
        """Keep a lease, if it is the next one."""
        row = lease.turn, encode_lease(lease)
        async with self._database.transaction() as connection:
            if lease.turn == 1:
                return await connection.fetchval(_FIRST, *row) is not None
            return await connection.fetchval(_NEXT, *row, renews) is not None


class PostgresOwnerLeases:
    """The leases by name; see the ``OwnerLeases`` port."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def take_owner_lease(self, name: str, life: str) -> None:
        """Give the lease of a name to a process."""
        await self._database.execute(_TAKE_OWN, name, life)

    async def renew_owner_lease(self, name: str, life: str) -> bool:
        """Renew a lease, if this process has it."""
        return bool(await self._database.rows_soon(_RENEW_OWN, name, life))

    async def owner_leases(self) -> list[OwnerLease]:
        """Return all leases by name."""
        return [OwnerLease(*row) for row in await self._database.rows_soon(_READ_OWN)]
