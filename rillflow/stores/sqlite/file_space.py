"""The space that an SQLite file still has: on its disk, and in the file.

Used by `runtime/backpressure/store_room.py`.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from rillflow.stores.sqlite.connection import connect
from rillflow.stores.sqlite.file_use import wal_path
from rillflow.stores.sqlite.writer import WAL_MAX_BYTES


class FileSpace:
    """The space of the file at ``path``; ``free_of`` returns the free space of a folder's disk."""

    def __init__(self, path: Path, free_of: Callable[[Path], int]) -> None:
        self.path = path
        self._free_of = free_of

    def disk_bytes(self) -> int:
        """Return the free space of the disk beyond what the ``-wal`` file needs.

        That file may grow to ``WAL_MAX_BYTES``, and what it has goes into the database, which grows
        by as much at most. What is left may be negative.

        Raises:
            OSError: The disk cannot be read.
        """
        wal_bytes = 0
        with suppress(FileNotFoundError):
            wal_bytes = wal_path(self.path).stat().st_size
        return self._free_of(self.path.parent) - max(WAL_MAX_BYTES, wal_bytes)

    def unused_bytes(self) -> int:
        """Return the size of the pages that are in no use, 0 if the file cannot be read.

        What is removed leaves such pages, which are used again before the file grows. A connection
        that only reads does not remove the ``-wal`` file when it is closed as the last one.
        """
        try:
            if not self.path.stat().st_size:
                return 0  # SQLite would take a ``-wal`` file beside it for another's, and remove it
            with closing(connect(self.path, mode="ro", busy_s=0)) as connection:
                ((pages,),) = connection.execute("PRAGMA freelist_count")
                ((page_bytes,),) = connection.execute("PRAGMA page_size")
        except (sqlite3.Error, OSError):
            return 0
        return int(pages) * int(page_bytes)
