"""Refuses a pooler that gives statements of one connection to several connections of the server.

Prepared statements belong to a connection of the server. PgBouncer with `pool_mode=transaction` or
`statement` runs what follows on another one, where they are missing, or of another client: appends
would fail now and then, depending on what else runs. A pooler of whole sessions is taken.

Used by `stores/postgres/database.py` and `stores/postgres/short_check.py`.
"""

from typing import Final

import asyncpg

from rillflow.errors import StoreError
from rillflow.stores.postgres.session_settings import POOL_SETTINGS, WRITER_SETTINGS

_PID: Final = "SELECT pg_backend_pid()"
_PATIENCE_S: Final = 5.0
_SHARED: Final = (
    "the pooler at this address runs the statements of one connection on several of the server,"
    " as PgBouncer does with pool_mode=transaction or statement: Rillflow needs pool_mode=session"
)
_PARAMETER: Final = (
    "; a PgBouncer must list the settings of Rillflow in ignore_startup_parameters, see"
    " docs/postgresql.md"
)
_LOST: Final = (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError)


async def refuse_shared_connections(connection: asyncpg.Connection, url: str) -> None:
    """Find out whether a pooler lies between, and whether prepared statements work through it.

    Args:
        connection: A new connection to the address.
        url: The address, for a second connection where there is a pooler.

    Raises:
        StoreError: They do not work, or the pooler refuses the settings.
        asyncpg.PostgresError: Something else is wrong; or an error of ``CONNECTION_ERRORS``.
    """
    try:
        if await connection.fetchval(_PID) == connection.get_server_pid():
            return
        settings = POOL_SETTINGS | WRITER_SETTINGS
        other = await asyncpg.connect(url, server_settings=settings, timeout=_PATIENCE_S)
        try:
            # While this transaction has a connection of the server, others get other ones.
            async with other.transaction():
                await other.fetchval(_PID)
                await connection.fetchval(_PID, timeout=_PATIENCE_S)
        finally:
            await other.close(timeout=_PATIENCE_S)
    except _LOST:
        raise StoreError(f"PostgreSQL: {_SHARED}") from None
    except asyncpg.PostgresError as error:
        if "statement pooling" in str(error):
            raise StoreError(f"PostgreSQL: {_SHARED}") from None
        if "startup parameter" in str(error):
            raise StoreError(f"PostgreSQL: {error}{_PARAMETER}") from None
        raise
