"""Rows of a database as they are stored, for moving them to another one.

`rillflow/transfer` writes them to a file and reads them from there. A session is used by one
process that runs no stack, so nothing here is on the way of an execution. The SQL is the same for
both databases, but for what a session says of itself.
"""

from rillflow.errors import StoreError
from rillflow.stores import sqlite_file
from rillflow.stores.transfer.session import Session


async def open_session(url: str, *, writes: bool) -> Session:
    """Connect to the database that a URL names; to be written to, its tables are upgraded.

    Raises:
        StoreError: The URL names no database, it cannot be used, or is of another release.
    """
    path = sqlite_file(url)
    if path is not None:
        from rillflow.stores.transfer.sqlite import SqliteSession  # noqa: PLC0415 - only when used

        return SqliteSession(path, writes=writes)
    if url.startswith(("postgresql:", "postgres:")):
        from rillflow.stores.transfer.postgres import connected  # noqa: PLC0415 - asyncpg

        return await connected(url, writes=writes)
    raise StoreError("only databases are exported and imported: SQLite and PostgreSQL")
