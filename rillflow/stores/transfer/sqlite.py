"""A session of a SQLite file.

Used by `stores/transfer/__init__.py`.
"""

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from rillflow.errors import StoreError
from rillflow.stores.sqlite.connection import connect, snapshot, store_errors, transaction
from rillflow.stores.sqlite.file_use import FileUse, refuse_incomplete
from rillflow.stores.sqlite.foreign_file import refuse_other_schemas
from rillflow.stores.sqlite.rows import NEWEST_KEY
from rillflow.stores.sqlite.schema import migrate_file, schema_status
from rillflow.stores.transfer.session import Session


class SqliteSession(Session):
    """A file that is read while a server may use it, or written while none does."""

    overrides_ids = ""
    next_position = "NULL"

    def __init__(self, path: Path, *, writes: bool) -> None:
        """Open the file.

        Raises:
            StoreError: There is no such file to read, or it cannot be used.
        """
        self._path = path
        self._use: FileUse | None = None
        self._writes = writes
        if writes:
            self._use = FileUse(path)
            self._use.begin()
            try:
                migrate_file(path)
                self._use.mark()
            except BaseException:
                self._use.end()
                raise
        else:
            _refuse_unreadable(path)
        with store_errors(path):
            self._connection = connect(path, mode="rw" if writes else "ro")
            refuse_other_schemas(self._connection, path)

    async def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Read rows."""
        with store_errors(self._path):
            return self._connection.execute(statement, values).fetchall()

    async def run(self, statement: str, *values: object) -> None:
        """Run a statement."""
        with store_errors(self._path):
            self._connection.execute(statement, values)

    async def run_many(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        """Run a statement once for each row of values."""
        with store_errors(self._path):
            self._connection.executemany(statement, rows)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Hold the write lock, or one state of the file."""
        held = transaction if self._writes else snapshot
        with store_errors(self._path), held(self._connection):
            yield

    async def new_key(self) -> int:
        """Return a key above all that there are."""
        [(newest,)] = await self.rows(NEWEST_KEY)
        return int(newest) + 1

    async def count_on_templates(self) -> None:
        """Do nothing: SQLite counts from the highest id."""

    async def close(self) -> None:
        """Release the file."""
        self._connection.close()
        if self._use is not None:
            self._use.end()


def _refuse_unreadable(path: Path) -> None:
    """Refuse a file to read that is missing, incomplete, or of another release.

    Raises:
        StoreError: It is.
    """
    if not path.is_file():
        raise StoreError(f"{path}: there is no such file")
    with store_errors(path):
        try:
            refuse_incomplete(path)
        except sqlite3.Error as error:
            raise StoreError(f"{path}: {error}") from error
    status = schema_status(path)
    status.refuse_unknown()
    if not status.is_current:
        raise StoreError(f"{path} is of an earlier release: upgrade it by `rillflow db upgrade`")
