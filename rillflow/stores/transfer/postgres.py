"""A session of a PostgreSQL database.

Used by `stores/transfer/__init__.py`.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg

from rillflow.errors import StoreError
from rillflow.stores.postgres.schema import schema_status, store_errors, upgrade
from rillflow.stores.sql.searching import numbered
from rillflow.stores.transfer.session import Session

SILENCE_S: Final = 120.0
_SETTINGS: Final = {"synchronous_commit": "on", "application_name": "rillflow transfer"}
_NEXT_TEMPLATE: Final = """
SELECT setval(pg_get_serial_sequence('task_templates', 'id'), max(id)) FROM task_templates
"""


async def connected(url: str, *, writes: bool) -> "PostgresSession":
    """Connect to a database.

    Raises:
        StoreError: It cannot be reached, or is of another release.
    """
    if writes:
        await upgrade(url)
    else:
        status = await schema_status(url)
        status.refuse_unknown()
        if not status.is_current:
            raise StoreError(
                "the database is of an earlier release, or empty: `rillflow db status`"
            )
    async with store_errors():
        connection = await asyncpg.connect(
            url, server_settings=_SETTINGS, command_timeout=SILENCE_S
        )
    return PostgresSession(connection, writes=writes)


class PostgresSession(Session):
    """One connection to a database."""

    overrides_ids = "OVERRIDING SYSTEM VALUE "
    next_position = "nextval('version_positions')"

    def __init__(self, connection: asyncpg.Connection, *, writes: bool) -> None:
        self._connection = connection
        self._writes = writes

    async def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Read rows."""
        async with store_errors():
            found = await self._connection.fetch(numbered(statement), *values)
            return [tuple(row) for row in found]

    async def run(self, statement: str, *values: object) -> None:
        """Run a statement."""
        async with store_errors():
            await self._connection.execute(numbered(statement), *values)

    async def run_many(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        """Run a statement once for each row of values."""
        async with store_errors():
            await self._connection.executemany(numbered(statement), rows)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Write all or nothing, or read one state."""
        isolation = None if self._writes else "repeatable_read"
        async with (
            store_errors(),
            self._connection.transaction(isolation=isolation, readonly=not self._writes),
        ):
            yield

    async def new_key(self) -> int:
        """Return the next key of the database."""
        [(key,)] = await self.rows("SELECT nextval('execution_keys')")
        return int(key)

    async def count_on_templates(self) -> None:
        """Set the sequence of ids to the highest that there is."""
        await self.run(_NEXT_TEMPLATE)

    async def close(self) -> None:
        """Disconnect."""
        await self._connection.close()
