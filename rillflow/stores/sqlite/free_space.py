"""The free space of the disk of an SQLite file, and that inside the file.

Used by `runtime/backpressure/store_room.py`.
"""

import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from rillflow.stores.sqlite.connection import connect
from rillflow.stores.sqlite.file_use import wal_path
from rillflow.stores.sqlite.writer import WAL_MAX_BYTES


def free_bytes(path: Path) -> int:
    """Return the free space of the disk of a database beyond what its ``-wal`` file needs.

    The ``-wal`` file may grow to ``WAL_MAX_BYTES``, and what it has goes into the database, which
    grows by as much at most. What is left may be negative.

    Raises:
        OSError: The disk cannot be read.
    """
    wal_bytes = 0
    with suppress(FileNotFoundError):
        wal_bytes = wal_path(path).stat().st_size
    return shutil.disk_usage(path.parent).free - max(WAL_MAX_BYTES, wal_bytes)


def unused_bytes(path: Path) -> int:
    """Return the size of the pages of a database that are in no use, 0 if it cannot be read.

    What is removed leaves such pages, which are used again before the file grows.
    """
    try:
        with closing(connect(path, mode="ro", busy_s=0)) as connection:
            ((pages,),) = connection.execute("PRAGMA freelist_count")
            ((page_bytes,),) = connection.execute("PRAGMA page_size")
    except (sqlite3.Error, OSError):
        return 0
    return int(pages) * int(page_bytes)
