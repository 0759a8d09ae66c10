"""Reads of a SQLite file that somebody else may have made: a backup, or a store that was copied.

The schema of such a file may hold views and triggers, which run when a table of that name is read
or written, and may never end or fill the memory. So nothing of such a file is read before its
schema is found to be the one that this release makes. What a damaged file makes of single pages is
bounded by the size of the file.

Used by `stores` and `stores/sqlite`.
"""

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Final

from rillflow.errors import StoreError
from rillflow.stores.sqlite.connection import connect, damage, store_errors
from rillflow.stores.sqlite.file_use import MAKE_FILE_USE, wal_path
from rillflow.stores.sqlite.schema import MAKE_COMPATIBILITY, MIGRATIONS
from rillflow.stores.store_check import PATIENCE_S, StoreCheck

LEAST_TIME_S: Final = 60.0
"""How long the reading of a small file may take."""
LEAST_BYTES_PER_S: Final = 262_144
"""A file may take this long for its size besides; an old computer verifies some megabytes a second.
"""

_LEAST_VALUE_BYTES: Final = 1_000_000
_INSTRUCTIONS: Final = 100_000
"""How many instructions of SQLite lie between two looks at the clock: less than 10 ms."""
_INTERRUPTED: Final = "interrupted"
_NAME_CHARACTERS: Final = 80
_STATISTICS: Final = ("sqlite_stat1", "sqlite_stat4")
"""Tables that `ANALYZE` makes; SQLite refuses to make others of such names."""
_OBJECTS: Final = "SELECT type, name, sql FROM sqlite_schema"
_TABLES: Final = """
SELECT tables.name, group_concat(columns.name)
FROM sqlite_schema AS tables JOIN pragma_table_info(tables.name) AS columns
WHERE tables.type = 'table' GROUP BY tables.name
"""
_PLAIN_INDEX: Final = re.compile(
    r'CREATE INDEX (?:"[^"]+"|\w+) ON "?(?P<table>\w+)"? ?\((?P<columns>[^()]+)\)', re.IGNORECASE
)
_COLUMN: Final = re.compile(
    r'"?(?P<column>\w+)"?(?: COLLATE (?:BINARY|NOCASE|RTRIM))?(?: (?:ASC|DESC))?', re.IGNORECASE
)


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a file for reading, within bounds of memory and time, once its schema is known.

    Raises:
        StoreError: Its schema is not the one that this release makes for its version.
        sqlite3.Error: It cannot be opened, or its reading has been given up.
    """
    with closing(connect(path, mode="ro")) as connection:
        harden(connection, path)
        connection.execute("PRAGMA query_only = ON")
        refuse_other_schemas(connection, path)
        yield connection


def harden(
    connection: sqlite3.Connection, path: Path, *, least_time_s: float = LEAST_TIME_S
) -> None:
    """Set what SQLite recommends for files of unknown origin, and limits by the size of the file.

    Damaged pages may name the same page again and again, so the longest value and the time are
    limited too: no value is longer than the file that it is in.
    """
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    connection.execute("PRAGMA mmap_size = 0")
    size_bytes = _size_bytes(path)
    most_bytes = max(size_bytes, _LEAST_VALUE_BYTES)
    usual_bytes = connection.getlimit(sqlite3.SQLITE_LIMIT_LENGTH)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, min(most_bytes, usual_bytes))
    end_s = time.monotonic() + least_time_s + size_bytes / LEAST_BYTES_PER_S
    connection.set_progress_handler(lambda: time.monotonic() > end_s, _INSTRUCTIONS)


def short_check(path: Path, patience_s: float = PATIENCE_S) -> StoreCheck:
    """Have SQLite check its structures, for some seconds.

    Raises:
        StoreError: The file cannot be read, or has a schema that no release makes.
    """
    with store_errors(path), opened(path) as connection:
        end_s = time.monotonic() + patience_s
        connection.set_progress_handler(lambda: time.monotonic() > end_s, _INSTRUCTIONS)
        try:
            ((answer,),) = connection.execute("PRAGMA quick_check(1)")
        except sqlite3.DatabaseError as error:
            if str(error) == _INTERRUPTED:
                return StoreCheck(looked=f"no damage found within {patience_s:g} s")
            reason = damage(error)
            if reason is None:
                raise
            return StoreCheck(problem=reason)
    return StoreCheck(looked="its pages are whole") if answer == "ok" else StoreCheck(str(answer))


def refuse_other_schemas(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a file with a table, view, trigger or index that this release does not make.

    Raises:
        StoreError: There is one, or one has another form.
    """
    ((version,),) = connection.execute("PRAGMA user_version")
    known = _schema_of(min(max(version, 0), len(MIGRATIONS)))
    try:
        for kind, name, sql in connection.execute(_OBJECTS):
            if known.get(name) == (kind, _normal(sql)):
                continue
            is_statistics = kind == "table" and name in _STATISTICS
            is_index = kind == "index" and name not in known and _is_plain_index(sql, version)
            if not is_statistics and not is_index:
                _refuse(path, kind, name, known=name in known)
    except sqlite3.Error as error:
        reason = damage(error) or str(error)
        raise StoreError(f"{path}: its schema cannot be read: {reason}") from error


def _refuse(path: Path, kind: object, name: object, *, known: bool) -> None:
    what = f"{str(kind)[:_NAME_CHARACTERS]} {str(name)[:_NAME_CHARACTERS]!r}"
    if known:
        raise StoreError(f"{path} is not read: its {what} is not as a release of Rillflow makes it")
    raise StoreError(
        f"{path} is not read: it has the {what}, which no release of Rillflow makes and which may"
        " do anything when it is read. Where you have made it, drop it in a copy of the file. An"
        " index of your own may have columns only: no expression, no WHERE, not UNIQUE."
    )


def _is_plain_index(sql: object, version: int) -> bool:
    """Tell whether a statement makes an index of columns, in which nothing is computed.

    An operator may have made it for queries of their own. A name that is no column would be read
    as a text, so the columns are looked up.
    """
    found = _PLAIN_INDEX.fullmatch(_normal(sql))
    if found is None:
        return False
    columns = _columns_of(min(max(version, 0), len(MIGRATIONS))).get(found["table"].lower(), ())
    parts = [_COLUMN.fullmatch(part.strip()) for part in found["columns"].split(",")]
    return all(part is not None and part["column"].lower() in columns for part in parts)


@cache
def _schema_of(version: int) -> dict[str, tuple[str, str]]:
    """Return the kind and the text of each object that the first migrations make, by name."""
    with _made(version) as connection:
        return {name: (kind, _normal(sql)) for kind, name, sql in connection.execute(_OBJECTS)}


@cache
def _columns_of(version: int) -> dict[str, frozenset[str]]:
    """Return the names of the columns of each table that the first migrations make."""
    found: dict[str, frozenset[str]] = {}
    with _made(version) as connection:
        for table, columns in connection.execute(_TABLES):
            found[table.lower()] = frozenset(columns.lower().split(","))
    return found


@contextmanager
def _made(version: int) -> Iterator[sqlite3.Connection]:
    """Make an empty database with the first migrations, in memory."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for statements in MIGRATIONS[:version]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(MAKE_FILE_USE)
        connection.execute(MAKE_COMPATIBILITY)
        yield connection


def _normal(sql: object) -> str:
    """Return a statement with single blanks; those that this release makes hold no texts."""
    return " ".join(sql.split()) if isinstance(sql, str) else ""


def _size_bytes(path: Path) -> int:
    wal = wal_path(path)
    return path.stat().st_size + (wal.stat().st_size if wal.exists() else 0)
