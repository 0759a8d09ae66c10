"""The connections of one process to a PostgreSQL database: one writer and a pool.

Workspaces take turns for the pool, and the listings of all together never have all of it. What
every request needs before anything else (keys, sessions, idempotency keys, whether the store can be
read) finds a connection that nothing else takes.

Used by `stores/postgres`.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg

from rillflow.errors import StoreError
from rillflow.ports.storage.store import Append
from rillflow.stores.postgres.pooler_check import refuse_shared_connections
from rillflow.stores.postgres.schema import store_errors, upgrade
from rillflow.stores.postgres.session_settings import POOL_SETTINGS
from rillflow.stores.postgres.writer import PostgresWriter
from rillflow.stores.reader_turns import ReaderTurns

_POOL_SIZE = 5
_PLACES: Final = 4
"""Connections of the pool that whatever is not prompt takes, and one reader one fewer of them."""
_SCANS: Final = 3
"""Those of them that listings, searches and counts take; two of one reader."""
OWN: Final = ""
"""The reader of what the stack reads for itself."""
FEW_CONNECTIONS: Final = 2
"""What a process takes at most that is told to take few: one that writes, and one that reads."""
_IDLE_S: Final = 10.0
"""After so long without a use such a process gives them back."""
_SOON_S = 3.0
_LONGEST_READ_S = 120.0
"""After this a silent server counts as lost; listings of millions take less."""
_TAKE_SPACE: Final = """
DO $$ BEGIN
    CREATE TEMPORARY TABLE space AS SELECT repeat('-', 1000) FROM generate_series(1, 1000);
    DROP TABLE space;
END $$
"""
_CONNECTIONS: Final = """
SELECT least(
    current_setting('max_connections')::int
        - current_setting('superuser_reserved_connections')::int,
    nullif(datconnlimit, -1), nullif(rolconnlimit, -1))::text
FROM pg_database, pg_roles WHERE datname = current_database() AND rolname = current_user
"""


class PostgresDatabase:
    """Life cycle and access; every method raises StoreError while it is not open.

    It belongs to the event loop that opened it.
    """

    def __init__(
        self,
        url: str,
        *,
        longest_read_s: float = _LONGEST_READ_S,
        few_connections: bool = False,
        idle_s: float = _IDLE_S,
    ) -> None:
        """Serve one process; the times are for tests.

        With ``few_connections`` it takes ``FEW_CONNECTIONS`` at most, and none while it is idle.
        """
        self._url = url
        self._longest_read_s = longest_read_s
        self._few = few_connections
        self._idle_s = idle_s
        self._writer: PostgresWriter | None = None
        self._pool: asyncpg.Pool | None = None
        places = 1 if few_connections else _PLACES
        self._places = ReaderTurns(places, most_of_one=max(places - 1, 1))
        self._scans = ReaderTurns(_SCANS, most_of_one=_SCANS - 1)
        self.reader: Callable[[], str] = str
        """Tells for whom the present task reads; empty is the stack itself."""

    async def open(self) -> None:
        """Create or upgrade the tables and connect; no effect when open.

        Raises:
            StoreError: The database belongs to a newer release, or cannot be reached, or not
                through this pooler.
        """
        await self._check_pooler()
        await upgrade(self._url)
        if self._pool is None:
            sizes: dict[str, Any] = {"min_size": 1, "max_size": _POOL_SIZE}
            if self._few:
                idle = {"max_inactive_connection_lifetime": self._idle_s}
                sizes = {"min_size": 0, "max_size": FEW_CONNECTIONS - 1, **idle}
            async with store_errors():
                self._pool = await asyncpg.create_pool(
                    self._url,
                    server_settings=POOL_SETTINGS,
                    command_timeout=self._longest_read_s,
                    **sizes,
                )
            self._writer = PostgresWriter(self._url, idle_s=self._idle_s if self._few else None)

    async def _check_pooler(self) -> None:
        async with store_errors():
            connection = await asyncpg.connect(self._url)
            try:
                await refuse_shared_connections(connection, self._url)
            finally:
                await connection.close()

    async def close(self) -> None:
        """Finish what is under way and disconnect; no effect when closed."""
        writer, self._writer = self._writer, None
        pool, self._pool = self._pool, None
        if writer is not None:
            await writer.stop()
        if pool is not None:
            await pool.close()

    async def probe(self) -> None:
        """Write the row with the schema version again, and let the writer connect if it has not.

        A full disk has room for that row. So once an append was refused for want of space, the
        probe takes as much as a large append does, until it gets it.

        Raises:
            StoreError: The database accepts no writes, or does not let the writer in.
        """
        await self._execute_promptly("UPDATE rillflow_schema SET version = version")
        if self._writer is not None:
            async with store_errors():
                await self._writer.connect()
            if self._writer.is_full:
                await self._execute_promptly(_TAKE_SPACE)
                self._writer.is_full = False

    async def connections(self) -> int | None:
        """Return how many connections the database allows all processes of this user together."""
        return int(await self.value(_CONNECTIONS) or 0) or None

    async def append(self, appends: Sequence[Append]) -> None:
        """Write the appends, all or none, with the next group commit."""
        if self._writer is None:
            raise StoreError("PostgreSQL: the store is closed")
        await self._writer.append(appends)

    @asynccontextmanager
    async def transaction(self, *, reader: str | None = None) -> AsyncIterator[asyncpg.Connection]:
        """Lend a connection with an open transaction; it commits at the end of the block.

        Readers take turns; None is the one for whom the present task works.

        Raises:
            StoreError: Something in the block or the commit failed; nothing was written.
        """
        async with self._in_turn(reader) as connection, connection.transaction():
            yield connection

    async def execute(self, statement: str, *values: object) -> None:
        """Run one statement and commit it."""
        async with self._in_turn() as connection:
            await connection.execute(statement, *values)

    async def _execute_promptly(self, statement: str) -> None:
        async with self._connection() as connection:
            await connection.execute(statement)

    async def rows(
        self, query: str, *values: object, reader: str | None = None
    ) -> list[tuple[Any, ...]]:
        """Read rows as tuples; readers take turns."""
        async with self._in_turn(reader) as connection:
            return [tuple(row) for row in await connection.fetch(query, *values)]

    async def scan(
        self, query: str, *values: object, reader: str | None = None
    ) -> list[tuple[Any, ...]]:
        """Read rows by a query that may take long; readers take turns."""
        reader = self.reader() if reader is None else reader
        async with self._scans.place(reader):
            return await self.rows(query, *values, reader=reader)

    async def rows_promptly(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Read rows by key, for which no listing, and nothing else that is long, makes it wait."""
        async with self._connection() as connection:
            return [tuple(row) for row in await connection.fetch(query, *values)]

    async def rows_soon(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Read rows, or write and return some, of a statement that takes milliseconds.

        Raises:
            StoreError: It takes longer than some seconds: the server is gone, or this connection.
        """
        if self._pool is None:
            raise StoreError("PostgreSQL: the store is closed")
        async with store_errors(), self._pool.acquire(timeout=_SOON_S) as connection:
            try:
                found = await connection.fetch(query, *values, timeout=_SOON_S)
            except TimeoutError:
                # Whoever does not answer does not confirm either that it has cancelled.
                connection.terminate()
                raise
            return [tuple(row) for row in found]

    async def column(self, query: str, *values: object, reader: str | None = None) -> list[str]:
        """Read the first column."""
        return [value for (value, *_) in await self.rows(query, *values, reader=reader)]

    async def value(self, query: str, *values: object, reader: str | None = None) -> str | None:
        """Read the first column of the first row, None when there is none."""
        return next(iter(await self.column(query, *values, reader=reader)), None)

    @asynccontextmanager
    async def _in_turn(self, reader: str | None = None) -> AsyncIterator[asyncpg.Connection]:
        reader = self.reader() if reader is None else reader
        async with self._places.place(reader), self._connection() as connection:
            yield connection

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        if self._pool is None:
            raise StoreError("PostgreSQL: the store is closed")
        async with store_errors(), self._pool.acquire() as connection:
            yield connection
