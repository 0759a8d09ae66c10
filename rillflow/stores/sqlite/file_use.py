"""Which processes use a SQLite file, and whether it was closed cleanly.

A SQLite database in WAL mode is two files: commits go to ``<file>-wal`` first. A copy of the
database file alone, made while it is in use, is an old state, and SQLite opens it without an error.
So the file has a mark while it is in use. The last process that closes it moves all commits into
the file, empties the ``-wal`` file, and removes the mark. A marked file without its ``-wal`` file
is therefore an incomplete copy.

Each first use draws a number, the *use number*. It is stored in the database file and in
``<file>-lock``, so that a ``-wal`` file is not applied to another copy of the database, such as a
backup that was copied into its place.

``<file>-lock`` is locked (``flock``) while a process uses the file, and the system releases the
lock when the process dies.

Used by `serve/stack` and `stores/sqlite`.
"""

import ctypes
import fcntl
import os
import secrets
import sqlite3
import time
import weakref
from contextlib import closing, suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

from rillflow.errors import StoreError
from rillflow.stores.private_files import close_to_others, make_private, why_foreign
from rillflow.stores.sqlite.connection import connect, store_errors, transaction
from rillflow.stores.sqlite.lost_commits import lost_commits

LOCK_WAIT_S: Final = 10.0
"""How long to wait for a process that closes or restores the file, in seconds."""

_LEFT_OPEN: Final[dict[Path, list[sqlite3.Connection]]] = {}
"""The connections to marked files whose use has ended in this process."""
_POLL_S: Final = 0.005
_ENDS: Final = ("", "-wal", "-shm", "-journal", "-lock", "-write", "-write-turn")
"""What the names of the files of a database end in."""
_PAGE_SIZE: Final = slice(16, 18)
"""Where a database file says how large its pages are; the largest size is written as 1."""
_LARGEST_PAGE: Final = 65_536
_NUMBER_BITS: Final = 62
_USE_NUMBERS_BYTES: Final = 64
MAKE_FILE_USE: Final = """
CREATE TABLE IF NOT EXISTS file_use (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    in_use INTEGER NOT NULL,
    use_number INTEGER NOT NULL
)"""
_FILE_USE_WORDS: Final = MAKE_FILE_USE.replace(" IF NOT EXISTS", "").split()
_FILE_USE_SQL: Final = "SELECT sql FROM sqlite_schema WHERE name = 'file_use' AND type = 'table'"
_READ_MARK: Final = """
SELECT in_use, use_number FROM file_use
WHERE typeof(in_use) = 'integer' AND typeof(use_number) = 'integer'"""


class FileUse:
    """One process's use of a database file, from ``begin`` to ``end``.

    The caller creates and upgrades the tables between ``begin`` and ``mark``.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock: int | None = None
        self._connection: sqlite3.Connection | None = None
        self._finish: weakref.finalize[..., FileUse] | None = None

    def begin(self) -> None:
        """Lock the file against a restore; the first process checks that it is complete.

        Raises:
            StoreError: The file is an incomplete copy, the ``-wal`` file belongs to another
                copy, or another process holds the file exclusively.
        """
        with store_errors(self._path):
            self._lock = _open_lock(self._path)
            try:
                if _take(self._lock, exclusive=True):
                    refuse_incomplete(self._path)
                    refuse_damaged_wal(self._path)
                else:
                    _wait_for_share(self._path, self._lock)
                if self._path.exists() and self._path.stat().st_size:
                    self._connection = connect(self._path)
            except BaseException:
                self._release()
                raise

    def mark(self) -> None:
        """Mark the file as in use, and let other processes use it too.

        Raises:
            StoreError: The file cannot be written.
        """
        with store_errors(self._path):
            assert self._lock is not None, "begin() comes first"  # noqa: S101
            # This connection stays open until the mark is removed, so that SQLite never removes the
            # ``-wal`` file of a marked file. The finalizer closes it also in a process that exits,
            # or drops this object, without calling ``end``.
            connection = self._connection or connect(self._path)
            self._connection = None
            lock, self._lock = self._lock, None
            self._finish = weakref.finalize(
                self, _finish, self._path, connection, lock, os.getpid()
            )
            try:
                _write_mark(connection, lock)
                _take(lock, exclusive=False)
            except BaseException:
                self._finish()
                raise

    def end(self) -> None:
        """Release the file; the last process moves all commits into it and removes the mark.

        A failure here loses nothing: the mark and the ``-wal`` file stay.
        """
        if self._finish is not None:
            self._finish()
        self._release()

    def _release(self) -> None:
        lock, self._lock = self._lock, None
        connection, self._connection = self._connection, None
        if connection is not None:
            _close_unmarked(self._path, connection)
        if lock is not None:
            os.close(lock)


def close_after_kill(path: Path) -> None:
    """Close a database whose processes were killed, as the last of them would have done.

    Does nothing if there is no such file, or a process still uses it.

    Raises:
        StoreError: The file is incomplete, or cannot be written.
    """
    if path.exists():
        use = FileUse(path)
        use.begin()
        try:
            use.mark()
        finally:
            use.end()


def hold_alone(path: Path) -> int:
    """Lock the file against every use, and return the descriptor that holds the lock.

    Raises:
        StoreError: A process uses the file.
    """
    with store_errors(path):
        lock = _open_lock(path)
        if not _take(lock, exclusive=True):
            os.close(lock)
            raise StoreError(f"{path} is in use: stop the server first (Ctrl-C in `rillflow up`)")
        return lock


def refuse_incomplete(path: Path) -> None:
    """Refuse a database file that lacks commits, as far as that can be detected.

    Args:
        path: The database file; one that does not exist is complete.

    Raises:
        StoreError: The file was in use when it was copied and its ``-wal`` file is missing,
            or the ``-wal`` file beside it belongs to another copy of the database.
        sqlite3.Error: The file cannot be read.
    """
    if not path.exists():
        return
    wal = wal_path(path)
    in_use, number = _mark_in_the_file(path)
    if in_use and not wal.exists():
        raise StoreError(
            f"{path} is incomplete: it was copied while it was in use, and {wal.name}, which"
            f" holds the latest commits, is missing. Copy {wal.name} next to it, or bring back a"
            " backup with `rillflow db restore FILE`. If nothing can be missing, for example"
            " since SQLite's own shell has closed the file, run"
            " `rillflow db verify --accept-missing-wal`. A running server is backed up by"
            " `rillflow db backup FILE`."
        )
    known_numbers = _use_numbers(path)
    if known_numbers and number not in known_numbers and wal.exists() and wal.stat().st_size:
        raise StoreError(
            f"{path} is not the file that {wal.name} belongs to: another copy was put in its"
            f" place. Move {wal.name} and {path.name}-shm away to use this copy as it is, or put"
            " the original back. `rillflow db restore FILE` replaces a database as a whole."
        )


def refuse_damaged_wal(path: Path) -> None:
    """Refuse a database in nobody's use whose ``-wal`` file is damaged before its last commit.

    Raises:
        StoreError: It is.
        sqlite3.Error: The file cannot be read.
    """
    wal = wal_path(path)
    if not path.exists() or not wal.exists() or not _mark_in_the_file(path)[0]:
        return
    with path.open("rb") as file:
        page_bytes = int.from_bytes(file.read(_PAGE_SIZE.stop)[_PAGE_SIZE], "big")
    lost = lost_commits(wal, _LARGEST_PAGE if page_bytes == 1 else page_bytes)
    if lost:
        raise StoreError(
            f"{wal} is damaged: {lost:,} commits behind the damage would be left out. Copy"
            f" {path.name} and {wal.name} again while no server runs, or bring back a backup with"
            " `rillflow db restore FILE`. If there is nothing better, use what can be read with"
            " `rillflow db verify --accept-missing-wal`."
        )


def is_used(path: Path) -> bool:
    """Tell whether a process uses a database file; nothing is changed."""
    try:
        lock = os.open(lock_path(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        return not _take(lock, exclusive=True)
    finally:
        os.close(lock)


def clear_mark(connection: sqlite3.Connection) -> None:
    """Mark a database as complete."""
    if _read_mark(connection) is not None:
        with transaction(connection):
            connection.execute("UPDATE file_use SET in_use = 0")


def mark_as_copy(connection: sqlite3.Connection) -> None:
    """Mark a copy as complete, without a ``-wal`` file of its own."""
    if _read_mark(connection) is not None:
        with transaction(connection):
            connection.execute("UPDATE file_use SET in_use = 0, use_number = ?", (_draw_number(),))


def truncate_wal(connection: sqlite3.Connection) -> bool:
    """Move all commits into the database file and empty the ``-wal`` file, without waiting.

    Returns:
        False if a reader or writer was in the way; then as much as possible was moved.
    """
    ((busy_ms,),) = connection.execute("PRAGMA busy_timeout")
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        ((busy, _, _),) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.execute(f"PRAGMA busy_timeout = {busy_ms}")
    return not busy


def wal_path(path: Path) -> Path:
    """Return where SQLite keeps the latest commits of a database file."""
    return path.with_name(path.name + "-wal")


def lock_path(path: Path) -> Path:
    """Return the file that is locked while a database file is in use."""
    return path.with_name(path.name + "-lock")


def _finish(path: Path, connection: sqlite3.Connection, lock: int, pid: int) -> None:
    """Release a file; the last process leaves it complete and without the mark.

    A forked child shares the lock with the process ``pid``, which continues to use it.
    """
    if os.getpid() != pid:
        return
    try:
        with suppress(sqlite3.Error, OSError):
            if _take(lock, exclusive=True):
                clear_mark(connection)
                truncate_wal(connection)
    finally:
        _close_unmarked(path, connection)
        os.close(lock)


def _close_unmarked(path: Path, connection: sqlite3.Connection) -> None:
    """Close a connection, with those that were left open; one to a marked file is left open, too.

    Whoever held the file a moment ago may have been killed since. SQLite would then take this
    connection for the last one, and remove the ``-wal`` file of a file that is marked.
    """
    left_open = _LEFT_OPEN.setdefault(path, [])
    with suppress(sqlite3.Error):
        row = _read_mark(connection)
        if row is None or not row[0]:
            for each in (*left_open, connection):
                each.close()
            del _LEFT_OPEN[path]
            return
    left_open.append(connection)
    # The interpreter would close it at its end, and the system does not ask SQLite.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


def _write_mark(connection: sqlite3.Connection, lock: int) -> None:
    row = _read_mark(connection)
    if row is not None and row[0]:
        return
    before = 0 if row is None else row[1]
    number = _draw_number()
    # Both numbers are valid until the database file has the new one.
    _write_use_numbers(lock, (before, number))
    with transaction(connection):
        connection.execute(MAKE_FILE_USE)
        connection.execute(
            "INSERT OR REPLACE INTO file_use (only, in_use, use_number) VALUES (1, 1, ?)", (number,)
        )
    if truncate_wal(connection):
        _write_use_numbers(lock, (number,))


def _mark_in_the_file(path: Path) -> tuple[bool, int]:
    """Read the mark in the file itself, without its ``-wal`` file.

    A full disk, or the end of the process, stops what moves commits into the file halfway. The file
    may then say that it has more pages than it has, which SQLite takes for damage unless its schema
    is writable. The pages of the mark are older.
    """
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True)
    with closing(connection):
        try:
            connection.execute("PRAGMA writable_schema = ON")
            row = _read_mark(connection)
        except sqlite3.DatabaseError:
            row = None  # the next reader of the damaged or foreign file reports it
    return (False, 0) if row is None else (bool(row[0]), row[1])


def _read_mark(connection: sqlite3.Connection) -> tuple[int, int] | None:
    """Read the mark; what has its name and is not the table of ``MAKE_FILE_USE`` is not read."""
    known = connection.execute(_FILE_USE_SQL).fetchone()
    if known is None or str(known[0]).split() != _FILE_USE_WORDS:
        return None
    row: tuple[int, int] | None = connection.execute(_READ_MARK).fetchone()
    return row


def _open_lock(path: Path) -> int:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    refuse_foreign(path)
    lock = lock_path(path)
    make_private(lock)
    close_to_others([lock])
    return os.open(lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)


def refuse_foreign(path: Path) -> None:
    """Refuse a database of which a file is another user's, or lies elsewhere.

    That user could read and write it while it is in use, hold its locks, or have another file
    written. A superuser may work on the database of whoever has its folder.

    Raises:
        StoreError: It is so.
        OSError: A file cannot be looked at.
    """
    owner = path.parent.stat().st_uid
    for end in _ENDS:
        file = path.with_name(path.name + end)
        if reason := why_foreign(file, os.geteuid(), owner):
            raise StoreError(f"{file} is not used: {reason}; see who has put it there")


def _take(lock: int, *, exclusive: bool) -> bool:
    """Take or change a lock; a lock that cannot be changed is lost, and the result is False."""
    try:
        fcntl.flock(lock, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait_for_share(path: Path, lock: int) -> None:
    deadline_s = time.monotonic() + LOCK_WAIT_S
    while not _take(lock, exclusive=False):
        if time.monotonic() > deadline_s:
            raise StoreError(f"{path}: another process restores or closes it; try again later")
        time.sleep(_POLL_S)


def _draw_number() -> int:
    return secrets.randbits(_NUMBER_BITS)


def _use_numbers(path: Path) -> tuple[int, ...]:
    """Read the uses to which a ``-wal`` file may belong; without the lock file they are unknown."""
    try:
        text = lock_path(path).read_bytes()[:_USE_NUMBERS_BYTES].decode("ascii", "replace")
    except OSError:
        return ()
    return tuple(int(word) for word in text.split() if word.isdecimal())


def _write_use_numbers(lock: int, numbers: tuple[int, ...]) -> None:
    os.pwrite(lock, " ".join(map(str, numbers)).ljust(_USE_NUMBERS_BYTES).encode(), 0)
    os.fsync(lock)
