"""The reading threads of a SQLite file: each has a connection, and takes readers in rotation.

Used by `stores/sqlite/database.py`.
"""

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from rillflow.stores.sqlite.connection import connect, snapshot, store_errors

T = TypeVar("T")

OWN: Final = ""
"""The reader of what the stack reads for itself."""


class _Read(NamedTuple):
    future: "Future[Any]"
    query: Callable[[sqlite3.Connection], Any]


class ReadingThread:
    """One thread with one connection; readers take turns, one read each.

    A reader is a workspace, or whoever else is told apart. So a read waits for one of each other
    reader at most, however many those have asked for. Any event loop may ask.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"rillflow-{name}")
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[_Read]] = {}
        """By reader, the one first whose turn is next."""

    async def read(self, query: Callable[[sqlite3.Connection], T], reader: str = OWN) -> T:
        """Return what a query returns on one state of the database.

        Raises:
            StoreError: The database could not be read.
        """
        # Without a name for the future here: the traceback of its error has this frame.
        return await self._begun(query, reader)

    def _begun(self, query: Callable[[sqlite3.Connection], T], reader: str) -> "asyncio.Future[T]":
        """Return the future result of a query, which waits for its turn from now on."""
        future: Future[T] = Future()
        with self._lock:
            self._waiting.setdefault(reader, deque()).append(_Read(future, query))
        self._thread.submit(self._read_next)
        return asyncio.wrap_future(future)

    def stop(self) -> None:
        """Finish what waits, and end the thread."""
        self._thread.shutdown(wait=True)
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _read_next(self) -> None:
        """Read what is next; this is called once for each read that waits."""
        with self._lock:
            future, query = _take_next(self._waiting)
        if not future.set_running_or_notify_cancel():
            return
        try:
            found = self._read(query)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the caller gets it
            future.set_exception(error)
        else:
            future.set_result(found)
        # The traceback of an error has this frame, which would keep the error and all it refers to.
        del future, query

    def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        with store_errors(self._path):
            if self._connection is None:
                self._connection = connect(self._path)
            with snapshot(self._connection):
                return query(self._connection)


def _take_next(waiting: dict[str, deque[_Read]]) -> _Read:
    """Take off the oldest read of the first reader, who is the last one then."""
    reader = next(iter(waiting))
    reads = waiting.pop(reader)
    taken = reads.popleft()
    if reads:
        waiting[reader] = reads
    return taken
