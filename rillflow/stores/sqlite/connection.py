"""Connections to the SQLite file that several processes share.

Used by `stores/sqlite`.
"""

import ctypes
import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote
from weakref import WeakSet

from rillflow.errors import StoreError
from rillflow.stores.private_files import close_to_others, make_private

T = TypeVar("T")

BUSY_S: Final = 10.0
"""How long to wait for another process's transaction."""

WAL_KEPT_BYTES: Final = 16 * 1024 * 1024
"""Length to which an emptied ``-wal`` file is cut; the rest is overwritten."""

_libc: Final = ctypes.PyDLL(None, use_errno=True)
_POLL_S: Final = 0.001
_GATE_POLL_S: Final = 0.0005
_TURN_POLL_S: Final = 0.005
"""How often each of the processes that give way looks whether it is its turn: there may be many."""
_TURN_S: Final = 60.0
"""How long such a process waits for its turn: longer than many commits of the others take."""
_CACHE_KIB: Final = 16_384
_STATEMENTS: Final = 256


class Connection(sqlite3.Connection):
    """A connection whose reads end with the snapshot or transaction in which they began.

    A statement whose rows were not all fetched, since who reads them has failed, holds on to the
    state of the database that it reads, also after a ROLLBACK, until its cursor is closed; and so
    do all reads of its connection meanwhile. The traceback of an error keeps a cursor for as long
    as somebody has the error.
    """

    _reads: WeakSet[sqlite3.Cursor] | None = None

    def execute(self, statement: str, values: Any = (), /) -> sqlite3.Cursor:
        """Run a statement, as ``sqlite3.Connection`` does."""
        cursor = super().execute(statement, values)
        if self._reads is not None:
            self._reads.add(cursor)
        return cursor

    @contextmanager
    def ending_reads(self) -> Iterator[None]:
        """Close the cursors of what is read meanwhile."""
        reads = self._reads = WeakSet()
        try:
            yield
        finally:
            self._reads = None
            for cursor in reads:
                cursor.close()


def connect(path: Path, *, mode: str = "rw", busy_s: float = BUSY_S) -> Connection:
    """Open the file; transactions begin and end explicitly.

    Args:
        path: The database file.
        mode: ``rw``, ``ro``, or ``rwc`` to create the file if it is missing.
        busy_s: How long statements wait for another process, in seconds.

    Raises:
        sqlite3.Error: The file cannot be opened.
    """
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode={mode}",
        uri=True,
        timeout=busy_s,
        isolation_level=None,
        cached_statements=_STATEMENTS,
        check_same_thread=False,
        factory=Connection,
    )
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        # A statement that inserts many rows would open a file for what it may have to undo.
        connection.execute("PRAGMA temp_store = MEMORY")
        # Some builds of SQLite would write zeros for each page that is removed: as much as it had.
        connection.execute("PRAGMA secure_delete = FAST")
        # The writer moves commits into the database; see ``WriteGate``.
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        # SQLite restarts the -wal file once all of it is in the database; then it is cut.
        connection.execute(f"PRAGMA journal_size_limit = {WAL_KEPT_BYTES}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def when_free(step: Callable[[], T], *, busy_s: float = BUSY_S) -> T:
    """Repeat a step while another process holds the database.

    SQLite's own busy handler backs off up to 100 ms, and some steps (the switch to WAL) fail
    without calling it.

    Raises:
        sqlite3.Error: The step failed, or the database was busy for too long.
    """
    deadline_s = time.monotonic() + busy_s
    while True:
        try:
            return step()
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > deadline_s:
                raise
        time.sleep(_POLL_S)


class WriteGate:
    """Keeps commits and checkpoints of all processes apart, by a lock of the system.

    Up to version 3.51.2 (but for 3.44.6 and 3.50.7) SQLite has a race: a checkpoint that begins
    while another connection commits, and starts the ``-wal`` file anew, may take commits for moved
    into the database that are not. They are lost, and the file is malformed. Python brings whatever
    version it was built with. The system releases the lock when its process dies.

    Whoever asks for the lock gets it in no order. Of the processes that give way only one at a time
    asks for it, the one that holds another lock, their turn. So however many there are, the others
    wait for one of them at most.
    """

    def __init__(self, path: Path, *, gives_way: bool = False) -> None:
        """Lock for the database at ``path``; ``gives_way`` is whether this process does."""
        self._gate = _FileTurn(path.with_name(f"{path.name}-write"), _GATE_POLL_S, BUSY_S)
        turn = _FileTurn(path.with_name(f"{path.name}-write-turn"), _TURN_POLL_S, _TURN_S)
        self._turn = turn if gives_way else None

    def held(self) -> AbstractContextManager[None]:
        """Hold the lock.

        Raises:
            sqlite3.OperationalError: Another process holds it for too long (busy).
            OSError: The file of the lock cannot be opened.
        """
        return self._gate.held() if self._turn is None else self._held_in_turn(self._turn)

    @contextmanager
    def _held_in_turn(self, turn: "_FileTurn") -> Iterator[None]:
        with turn.held(), self._gate.held():
            yield

    def close(self) -> None:
        """Release the files."""
        self._gate.close()
        if self._turn is not None:
            self._turn.close()


class _FileTurn:
    """A lock of the system on a file, for which a process asks again and again."""

    def __init__(self, path: Path, poll_s: float, patience_s: float) -> None:
        self._path, self._poll_s, self._patience_s = path, poll_s, patience_s
        self._file: int | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        if self._file is None:
            make_private(self._path)
            close_to_others([self._path])
            self._file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        file = self._file
        self._take(file)
        try:
            yield
        finally:
            _flock(file, fcntl.LOCK_UN)

    def _take(self, file: int) -> None:
        deadline_s = time.monotonic() + self._patience_s
        while True:
            try:
                _flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline_s:
                    busy = sqlite3.OperationalError("another process is writing for too long")
                    busy.sqlite_errorcode = sqlite3.SQLITE_BUSY
                    raise busy from None
                time.sleep(self._poll_s)
            else:
                return

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


def _flock(lock: int, operation: int) -> None:
    """Take or release a lock at once, as ``fcntl.flock`` does.

    That one releases the interpreter lock around the call, and gets it back after half a
    millisecond from an event loop that is busy: twice for each commit.

    Raises:
        BlockingIOError: Another process holds it.
        OSError: The file has no locks.
    """
    if _libc.flock(lock, operation):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def is_busy(error: sqlite3.Error) -> bool:
    """Tell whether another connection held the database."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def damage(error: Exception) -> str | None:
    """Return what is wrong with the rows of a query; None if they are not the cause."""
    reason = str(error)
    if reason.startswith("Could not decode"):  # raised by Python, without an error code
        return reason.partition(" with text ")[0]
    is_corrupt = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_CORRUPT
    return reason if is_corrupt and not reason.startswith("malformed database schema") else None


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Hold the database's one write lock, then commit, or roll back on any error.

    Raises:
        sqlite3.Error: The lock was not free in time, or the commit failed.
    """
    when_free(lambda: connection.execute("BEGIN IMMEDIATE"))
    try:
        with _ending_reads(connection):
            yield
        connection.execute("COMMIT")
    except BaseException:
        # Some errors (disk full, I/O) have rolled back already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """Let several reads see one state of the database; writers do not wait for them."""
    connection.execute("BEGIN")
    try:
        with _ending_reads(connection):
            yield
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _ending_reads(connection: sqlite3.Connection) -> AbstractContextManager[None]:
    return connection.ending_reads() if isinstance(connection, Connection) else nullcontext()


@contextmanager
def store_errors(path: Path) -> Iterator[None]:
    """Raise errors of SQLite and the file system as StoreError, with the path.

    Raises:
        StoreError: The body raised ``sqlite3.Error`` or ``OSError``.
    """
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"{path}: {error}") from error
