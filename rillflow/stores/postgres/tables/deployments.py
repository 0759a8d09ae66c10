"""The wanted state of a deployment in the PostgreSQL store.

Used by `stores/postgres/store.py`.
"""

from typing import Final

from rillflow.ports.deployment import Deployment, decode_stored, encode_stored
from rillflow.stores.postgres.database import PostgresDatabase

_READ: Final = "SELECT wanted FROM deployment"
_FIRST: Final = """
INSERT INTO deployment (only_one, version, wanted) VALUES (1, $1, $2)
ON CONFLICT DO NOTHING RETURNING wanted
"""
_NEXT: Final = """
UPDATE deployment SET version = $1, wanted = $2 WHERE version = $3 RETURNING wanted
"""


class PostgresDeployments:
    """The one wanted state; see the ``Deployments`` port."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def deployment(self) -> Deployment | None:
        """Return the wanted state; None before the first."""
        rows = await self._database.rows_promptly(_READ)
        return decode_stored(rows[0][0]) if rows else None

    async def set_deployment(self, wanted: Deployment, *, after_version: int) -> bool:
        """Keep a wanted state, if it follows the stored one."""
        row = wanted.version, encode_stored(wanted)
        async with self._database.transaction() as connection:
            if after_version:
                return await connection.fetchval(_NEXT, *row, after_version) is not None
            return await connection.fetchval(_FIRST, *row) is not None
