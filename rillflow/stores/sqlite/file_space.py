"""The space in an SQLite file that is in no use.

Used by `runtime/backpressure/store_room.py`.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from rillflow.stores.sqlite.connection import connect


def unused_bytes(path: Path) -> int:
    """Return the size of the pages of a file that are in no use, 0 if it cannot be read.

    What is removed leaves such pages, which are used again before the file grows. A connection
    that only reads does not remove the ``-wal`` file when it is closed as the last one.
    """
    try:
        if not path.stat().st_size:
            return 0  # SQLite would take a ``-wal`` file beside it for another's, and remove it
        with closing(connect(path, mode="ro", busy_s=0)) as connection:
            ((pages,),) = connection.execute("PRAGMA freelist_count")
            ((page_bytes,),) = connection.execute("PRAGMA page_size")
    except (sqlite3.Error, OSError):
        return 0
    return int(pages) * int(page_bytes)
