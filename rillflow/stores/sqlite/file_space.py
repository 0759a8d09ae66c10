"""The space in the files of an SQLite database, and on its disk for what is written beside it.

Used by `runtime/backpressure/store_room.py`, `stores/sqlite/backup.py` and `cli/commands`.
"""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

from rillflow.errors import StoreError
from rillflow.stores.sqlite.connection import connect
from rillflow.stores.sqlite.file_use import is_used, wal_path
from rillflow.stores.sqlite.writer import WAL_MAX_BYTES

LEAST_LEFT_BYTES: Final = 2 * WAL_MAX_BYTES
"""Free space of the disk of a database that its server needs for its commits, and to move them."""


def free_bytes(folder: Path) -> int:
    """Return the free space of the disk of a folder.

    Raises:
        OSError: It cannot be read.
    """
    return shutil.disk_usage(folder).free


class BackupSpace:
    """The space of a folder for what is copied out of a database at ``path`` while it is in use.

    ``free_of`` returns the free space of the disk of a folder. On another disk, and while no
    process uses the database, everything may be taken.
    """

    def __init__(
        self,
        path: Path,
        folder: Path,
        free_of: Callable[[Path], int] = free_bytes,
    ) -> None:
        self._path, self._folder, self._free_of = path, folder, free_of
        is_beside = path.exists() and path.stat().st_dev == folder.stat().st_dev
        self._is_bounded = is_beside and is_used(path)

    def require(self, more_bytes: int = 0) -> None:
        """Refuse to write so many bytes more.

        Raises:
            StoreError: The server would not have the space that it needs.
            OSError: The disk cannot be read.
        """
        if self._is_bounded and self._free_of(self._folder) - more_bytes < LEAST_LEFT_BYTES:
            raise StoreError(
                f"the disk of {self._folder} has too little space:"
                f" {LEAST_LEFT_BYTES >> 20} MiB must stay free for the server that uses"
                f" {self._path}; choose a folder on another disk"
            )


class FileSpace(NamedTuple):
    """The space inside the files of a database.

    Attributes:
        unused_bytes: Pages in no use, as what is removed leaves; they are used again before the
            file grows.
        moved_bytes: The part of the ``-wal`` file that does not make the database grow.
    """

    unused_bytes: int = 0
    moved_bytes: int = 0


def file_space_of(path: Path) -> FileSpace:
    """Return the space inside the files of a database, none if it cannot be read.

    A connection that only reads does not remove the ``-wal`` file when it is closed as the last
    one.
    """
    try:
        if not path.stat().st_size:
            # SQLite would take a ``-wal`` file beside it for another's, and remove it.
            return FileSpace()
        with closing(connect(path, mode="ro", busy_s=0)) as connection:
            ((pages,),) = connection.execute("PRAGMA freelist_count")
            ((all_pages,),) = connection.execute("PRAGMA page_count")
            ((page_bytes,),) = connection.execute("PRAGMA page_size")
            wal_bytes = wal_path(path).stat().st_size
            coming_bytes = max(all_pages * page_bytes - path.stat().st_size, 0)
    except (sqlite3.Error, OSError):
        return FileSpace()
    return FileSpace(pages * page_bytes, max(wal_bytes - coming_bytes, 0))
