"""The connections of one process to a SQLite file: one writing thread, three reading ones.

In WAL mode readers neither wait for commits nor block them. Reads of single executions have a
thread apart from listings and counts, so that a long listing does not delay the loading of an
execution; in both threads workspaces take turns. What every request needs before anything else
(keys, sessions, idempotency keys, whether the store can be read) has the third one, which nothing
long ever occupies.

Used by `stores/sqlite`.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from rillflow.errors import StoreError
from rillflow.ports.storage.store import Append
from rillflow.stores.sqlite.connection import connect
from rillflow.stores.sqlite.file_use import FileUse
from rillflow.stores.sqlite.reading import ReadingThread
from rillflow.stores.sqlite.schema import migrate_file
from rillflow.stores.sqlite.writer import SqliteWriter

T = TypeVar("T")

GLANCED_ROWS: Final = 50
"""More rows are read in a thread; so many rules of the greatest length are 1.6 MB."""
GLANCED_SHORT_ROWS: Final = 256
"""The same of rows of some hundred bytes: as many keys and ended sessions as most stacks have."""


class _KeyReads:
    """Reads of a few rows by key in the calling thread; see ``SqliteDatabase.glance``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def read(
        self, statement: str, values: tuple[object, ...], most_rows: int
    ) -> list[tuple[Any, ...]]:
        if self._connection is None:
            self._connection = connect(self._path, busy_s=0)
        with closing(self._connection.execute(statement, values)) as cursor:
            return cursor.fetchmany(most_rows)

    def stop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _Parts:
    """The parts of an open database."""

    def __init__(self, path: Path, *, gives_way: bool) -> None:
        self._use = FileUse(path)
        self._use.begin()
        try:
            migrate_file(path)
            self._use.mark()
        except BaseException:
            self._use.end()
            raise
        self.writer = SqliteWriter(path, gives_way=gives_way)
        self.prompt = ReadingThread(path, "prompt-reads")
        self.lookups = ReadingThread(path, "lookups")
        self.scans = ReadingThread(path, "scans")
        self.glances = _KeyReads(path)
        self.writer.start()

    def stop(self) -> None:
        self.writer.stop()
        self.prompt.stop()
        self.lookups.stop()
        self.scans.stop()
        self.glances.stop()
        self._use.end()


class SqliteDatabase:
    """Life cycle and access; every method raises StoreError while it is not open."""

    def __init__(self, path: Path, *, gives_way: bool = False) -> None:
        """Use the file at ``path``; ``gives_way`` is told by ``WriteGate``."""
        self._path = path
        self._gives_way = gives_way
        self._parts: _Parts | None = None
        self.reader: Callable[[], str] = str
        """Tells for whom the present task reads; empty is the stack itself."""

    async def open(self) -> None:
        """Create or upgrade the file and start the threads; no effect when open.

        Raises:
            StoreError: The file belongs to a newer release or another program, lacks
                commits, or cannot be opened.
        """
        if self._parts is None:
            self._parts = await asyncio.to_thread(
                partial(_Parts, self._path, gives_way=self._gives_way)
            )

    async def close(self) -> None:
        """Finish writes and reads under way and end the threads; no effect when closed.

        The last process that closes the file moves all commits into it, and removes the ``-wal``
        file.
        """
        parts, self._parts = self._parts, None
        if parts is not None:
            await asyncio.to_thread(parts.stop)

    async def append(self, appends: Sequence[Append]) -> None:
        """Write the appends, all or none, with the next group commit."""
        await self._open_parts().writer.append(appends)

    async def write(self, work: Callable[[sqlite3.Connection], T], *, is_large: bool = False) -> T:
        """Run ``work`` in a transaction of its own on the writing thread; see ``SqliteWriter``."""
        return await self._open_parts().writer.do(work, is_large=is_large)

    async def look_up(
        self, query: Callable[[sqlite3.Connection], T], *, reader: str | None = None
    ) -> T:
        """Run a short read on one state of the database.

        Readers take turns; None is the one for whom the present task reads.
        """
        reader = self.reader() if reader is None else reader
        return await self._open_parts().lookups.read(query, reader)

    async def look_up_promptly(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run a read by key, for which no listing, and nothing else that is long, makes it wait."""
        return await self._open_parts().prompt.read(query)

    async def glance(
        self, statement: str, *values: object, reader: str | None = None
    ) -> list[tuple[Any, ...]]:
        """Read a few rows by key in the calling thread.

        That takes less than waking another thread, twice, and in WAL mode it does not wait; what
        cannot be read at once, or has more rows, goes to the reading thread.
        """
        rows = self._glanced(statement, values, GLANCED_ROWS)
        if rows is not None:
            return rows
        return await self.look_up(
            lambda connection: connection.execute(statement, values).fetchall(), reader=reader
        )

    async def glance_promptly(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Read short rows in the calling thread, or as ``look_up_promptly`` does."""
        rows = self._glanced(statement, values, GLANCED_SHORT_ROWS)
        if rows is not None:
            return rows
        return await self.look_up_promptly(
            lambda connection: connection.execute(statement, values).fetchall()
        )

    def _glanced(
        self, statement: str, values: tuple[object, ...], most_rows: int
    ) -> list[tuple[Any, ...]] | None:
        """Return rows, None where there are more or they cannot be read at once."""
        with suppress(sqlite3.Error):
            rows = self._open_parts().glances.read(statement, values, most_rows + 1)
            if len(rows) <= most_rows:
                return rows
        return None

    async def scan(
        self, query: Callable[[sqlite3.Connection], T], *, reader: str | None = None
    ) -> T:
        """Run a read that may take long on one state of the database; readers take turns."""
        reader = self.reader() if reader is None else reader
        return await self._open_parts().scans.read(query, reader)

    async def size_bytes(self) -> int:
        """Return the bytes of the file and of its write-ahead log."""
        self._open_parts()
        files = (self._path, self._path.with_name(f"{self._path.name}-wal"))
        return await asyncio.to_thread(lambda: sum(map(_size_of, files)))

    def _open_parts(self) -> _Parts:
        if self._parts is None:
            raise StoreError(f"{self._path}: the store is closed")
        return self._parts


def _size_of(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:  # the log is gone while nobody writes
        return 0
