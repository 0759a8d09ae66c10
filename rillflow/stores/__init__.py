"""The stores, adapters of the Store port, chosen by URL: memory, SQLite, PostgreSQL.

Actors and the command line open them here; a new store is added to ``open_store``. Stores do not
know the states of executions: journal records are bytes to them.
"""

import asyncio
from pathlib import Path
from typing import Final

from rillflow.errors import StoreError
from rillflow.ports.storage.store import Store
from rillflow.stores.large_values import LARGE_VALUE_BYTES
from rillflow.stores.schema_status import SchemaStatus
from rillflow.stores.store_check import StoreCheck
from rillflow.stores.urls import refuse_malformed

_POSTGRES_SCHEMES: Final = ("postgresql", "postgres")


def open_store(
    url: str, *, large_value_bytes: int = LARGE_VALUE_BYTES, few_connections: bool = False
) -> Store:
    """Return the store that a URL names; the caller awaits its ``open()``.

    Args:
        url: ``memory:`` (gone with the process), ``sqlite:///path/file.db``
            (``/path/file.db``: always absolute, since processes with different
            working directories must find the same file), or
            ``postgresql://user:password@host:port/database``.
        large_value_bytes: Length above which a value is stored apart, once for each
            execution. What another length has written can be read.
        few_connections: For one of many processes that wait most of the time: two connections
            to a database server at most, and none while it is idle; of those that share an SQLite
            file, one at a time asks to write.

    Raises:
        StoreError: The URL names no store.
    """
    scheme, _, rest = url.partition(":")
    if url == "memory:":
        from rillflow.stores.memory.store import MemoryStore  # noqa: PLC0415 - only when used

        return MemoryStore(large_value_bytes=large_value_bytes)
    if scheme == "sqlite":
        from rillflow.stores.sqlite.store import SqliteStore  # noqa: PLC0415 - only when used

        return SqliteStore(
            _sqlite_path(url, rest),
            large_value_bytes=large_value_bytes,
            gives_way=few_connections,
        )
    if scheme in _POSTGRES_SCHEMES:
        refuse_malformed(url)
        from rillflow.stores.postgres.store import PostgresStore  # noqa: PLC0415 - asyncpg

        return PostgresStore(
            url, large_value_bytes=large_value_bytes, few_connections=few_connections
        )
    raise _unknown(url)


async def schema_status(url: str) -> SchemaStatus:
    """Return the schema version of a database without changing it.

    Raises:
        StoreError: The URL names no database, or it cannot be read.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "sqlite":
        from rillflow.stores.sqlite import schema as sqlite_schema  # noqa: PLC0415 - only when used

        return await asyncio.to_thread(sqlite_schema.schema_status, _sqlite_path(url, rest))
    if scheme in _POSTGRES_SCHEMES:
        refuse_malformed(url)
        from rillflow.stores.postgres import schema as postgres_schema  # noqa: PLC0415 - asyncpg

        return await postgres_schema.schema_status(url)
    raise _no_tables(url)


async def upgrade_schema(url: str) -> SchemaStatus:
    """Upgrade a database, creating its tables if there are none.

    Returns:
        The status before the upgrade.

    Raises:
        StoreError: The URL names no database, or it belongs to a newer release
            or another program, or cannot be written.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "sqlite":
        from rillflow.stores.sqlite import schema as sqlite_schema  # noqa: PLC0415 - only when used

        return await asyncio.to_thread(sqlite_schema.upgrade, _sqlite_path(url, rest))
    if scheme in _POSTGRES_SCHEMES:
        refuse_malformed(url)
        from rillflow.stores.postgres import schema as postgres_schema  # noqa: PLC0415 - asyncpg

        return await postgres_schema.upgrade(url)
    raise _no_tables(url)


async def short_check(url: str, now_s: float) -> StoreCheck:
    """Look for some seconds whether a database is damaged, or takes no writes; change nothing.

    Args:
        url: The URL of a database that is there.
        now_s: The time by the clock of this machine, in seconds since the epoch.

    Raises:
        StoreError: The URL names no database, or it cannot be read.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "sqlite":
        from rillflow.stores.sqlite import foreign_file  # noqa: PLC0415 - only when used

        return await asyncio.to_thread(foreign_file.short_check, _sqlite_path(url, rest))
    if scheme in _POSTGRES_SCHEMES:
        refuse_malformed(url)
        from rillflow.stores.postgres import short_check as of_postgres  # noqa: PLC0415 - asyncpg

        return await of_postgres.short_check(url, now_s)
    raise _no_tables(url)


def sqlite_file(url: str) -> Path | None:
    """Return the file of a SQLite URL, None for other stores.

    Raises:
        StoreError: It is a SQLite URL without an absolute path.
    """
    scheme, _, rest = url.partition(":")
    return _sqlite_path(url, rest) if scheme == "sqlite" else None


def _sqlite_path(url: str, rest: str) -> Path:
    path = rest.removeprefix("//")
    if not rest.startswith("//") or not path.startswith("/") or path.endswith("/"):
        raise StoreError(f"{url}: write the absolute path of a file, as in sqlite:///path/file.db")
    return Path("/" + path.lstrip("/"))


def _no_tables(url: str) -> StoreError:
    return StoreError("memory: has no tables") if url == "memory:" else _unknown(url)


def _unknown(url: str) -> StoreError:
    scheme = url.partition(":")[0]
    return StoreError(
        f"no store is known for {scheme!r}: use memory:, sqlite:///path/file.db or postgresql://..."
    )
