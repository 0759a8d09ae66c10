"""Backup, restore and verification of a SQLite database file, for `rillflow db`.

A backup is one complete file: no ``-wal`` file belongs to it.

Used by `cli/commands/database.py`.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from rillflow.core.encoding.codec import decode_event, decode_state
from rillflow.definition import MAX_TEXT_BYTES, parse_definition
from rillflow.errors import DefinitionError, StoreError
from rillflow.ids import ExecutionId
from rillflow.ports.storage.store import StoredExecution
from rillflow.stores.large_values import joined_one_by_one
from rillflow.stores.sqlite.connection import connect, snapshot, store_errors
from rillflow.stores.sqlite.file_space import BackupSpace, free_bytes
from rillflow.stores.sqlite.file_use import (
    clear_mark,
    hold_alone,
    is_used,
    mark_as_copy,
    refuse_damaged_wal,
    refuse_incomplete,
    wal_path,
)
from rillflow.stores.sqlite.foreign_file import harden, opened, refuse_other_schemas
from rillflow.stores.sqlite.journal import load_parts
from rillflow.stores.sqlite.schema import schema_status

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the number of pages, or executions, that are done, and their total."""

_MOST_RECORD_BYTES: Final = 1 << 28
"""An event has the body of one request or answer, which settings limit to a few megabytes."""
_PAGES_AT_ONCE: Final = 2_048
_DRAFT: Final = ".partial"
_MOST_PROBLEMS: Final = 100
_STORED_DEPTH: Final = 1_000
_STORED_BYTES: Final = 32 * MAX_TEXT_BYTES
"""What a server reads of a stored definition at most."""
_WITHOUT_DEFINITION: Final = """
SELECT execution_id, definition_id FROM executions
WHERE definition_id NOT IN (SELECT definition_id FROM definitions)
"""
_VERSIONS_WITHOUT_DEFINITION: Final = """
SELECT business, feature, alias, version FROM versions
WHERE version NOT IN (SELECT definition_id FROM definitions)
"""
_LAST_SEQ: Final = """
SELECT coalesce((SELECT max(seq) FROM journal WHERE execution = key), 0)
FROM executions WHERE execution_id = ?
"""


class Verification(msgspec.Struct, kw_only=True):
    """The result of a verification; ``problems`` has at most the first 100."""

    executions: int = 0
    definitions: int = 0
    problems: list[str] = []

    @property
    def is_clean(self) -> bool:
        """Whether everything can be read."""
        return not self.problems

    def add(self, problem: str) -> None:
        """Record a problem, unless there are too many already."""
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(problem)


def backup(
    path: Path,
    target: Path,
    progress: Progress,
    free_of: Callable[[Path], int] = free_bytes,
) -> None:
    """Copy a database, also one that is in use, into a new complete file.

    The copy is the state at one moment, with everything that was acknowledged before the call. It
    gets its name only once it is complete and on disk.

    Raises:
        StoreError: There is no such database, it lacks commits, has a schema that no release
            makes, the target exists or cannot be written, or the server that uses the database
            would not have the space that it needs on the disk, as ``free_of`` tells it.
    """
    _refuse_missing(path)
    with store_errors(path):
        refuse_incomplete(path)
    with store_errors(target):
        BackupSpace(path, target.absolute().parent, free_of).require(_size_bytes(path))
    with store_errors(target), _draft_of(target) as draft:
        _copy(path, draft, progress)


def restore(source: Path, path: Path, progress: Progress) -> Path | None:
    """Replace an unused database by a backup.

    Returns:
        The new path of the replaced database, with its ``-wal`` file; None if there
        was none.

    Raises:
        StoreError: The backup is damaged, incomplete or of a newer release, or the database
            is in use; then nothing has changed.
    """
    found = verify(source, progress)
    if not found.is_clean:
        raise StoreError(f"{source} is damaged and was not restored: {found.problems[0]}")
    lock = hold_alone(path)
    try:
        with store_errors(path), _draft_of(path, replaces=True) as draft:
            _copy(source, draft, progress)
            _sync(draft)
            moved = _keep_aside(path)
            os.ftruncate(lock, 0)
        return moved
    finally:
        os.close(lock)


def verify(path: Path, progress: Progress) -> Verification:
    """Read all of a database: SQLite's own structures, and every execution's journal.

    A database in use can be verified; nothing is changed.

    Raises:
        StoreError: There is no such database, it belongs to another program, has a schema that
            no release makes, or lacks commits.
    """
    _refuse_missing(path)
    schema_status(path).refuse_unknown()
    found = Verification()
    if not is_used(path):
        with store_errors(path):
            refuse_damaged_wal(path)
    with store_errors(path), opened(path) as connection, snapshot(connection):
        try:
            _verify_structures(connection, found)
            if found.is_clean:
                _verify_definitions(connection, found)
                _verify_executions(connection, found, progress)
        except sqlite3.DatabaseError as error:
            found.add(f"SQLite: {error}")
    return found


def accept_missing_wal(path: Path) -> None:
    """Remove the mark of a file whose ``-wal`` file is missing.

    Raises:
        StoreError: A process uses the file, it cannot be written, or its schema is not one that
            a release makes.
    """
    lock = hold_alone(path)
    try:
        with store_errors(path), closing(connect(path)) as connection:
            harden(connection, path)
            refuse_other_schemas(connection, path)
            clear_mark(connection)
    finally:
        os.close(lock)


def _size_bytes(path: Path) -> int:
    """Return how long a copy of a database is at most."""
    wal = wal_path(path)
    return path.stat().st_size + (wal.stat().st_size if wal.exists() else 0)


def _copy(path: Path, draft: Path, progress: Progress) -> None:
    """Copy a database at one moment into an empty file."""
    with closing(connect(path, mode="ro")) as source, closing(sqlite3.connect(draft)) as copy:
        source.backup(
            copy,
            pages=_PAGES_AT_ONCE,
            progress=lambda _, left, total: progress(total - left, total),
        )
        # The update of the mark would run triggers of the copy.
        harden(copy, draft)
        refuse_other_schemas(copy, path)
        # The copy has no -wal file and is not in use.
        copy.execute("PRAGMA journal_mode = DELETE")
        mark_as_copy(copy)


def _verify_structures(connection: sqlite3.Connection, found: Verification) -> None:
    """Have SQLite check its own structures; where they are damaged, no row is read.

    A damaged page may stand for many others, so the rows of a small file may be without end.
    """
    for (answer,) in connection.execute(f"PRAGMA integrity_check({_MOST_PROBLEMS - 1})"):
        if answer != "ok":
            found.add(f"SQLite: {answer}")
    if not found.is_clean:
        found.add("definitions and executions have not been read, for the file itself is damaged")


def _verify_definitions(connection: sqlite3.Connection, found: Verification) -> None:
    """Read every definition, and check that those of executions and versions exist."""
    for definition_id, text in connection.execute("SELECT definition_id, text FROM definitions"):
        found.definitions += 1
        try:
            parse_definition(text, max_depth=_STORED_DEPTH, max_bytes=_STORED_BYTES)
        except (DefinitionError, TypeError, ValueError) as error:
            found.add(f"definition {definition_id} cannot be read: {error}")
    for execution_id, definition_id in connection.execute(_WITHOUT_DEFINITION):
        found.add(f"{execution_id}: its definition {definition_id} is missing")
    for business, feature, alias, version in connection.execute(_VERSIONS_WITHOUT_DEFINITION):
        found.add(f"{business}:{feature}:{alias}: its version {version} is missing")


def _verify_executions(
    connection: sqlite3.Connection, found: Verification, progress: Progress
) -> None:
    ((total,),) = connection.execute("SELECT count(*) FROM executions")
    for (execution_id,) in connection.execute("SELECT execution_id FROM executions ORDER BY key"):
        found.executions += 1
        try:
            _verify_execution(connection, ExecutionId(execution_id))
        except (StoreError, sqlite3.Error) as error:
            found.add(f"{execution_id}: {error}")
        progress(found.executions, total)


def _verify_execution(connection: sqlite3.Connection, execution_id: ExecutionId) -> None:
    """Decode everything of an execution that its owner would read.

    Raises:
        StoreError: A part of it is missing or cannot be read.
    """
    found = load_parts(connection, execution_id)
    if found is None:
        raise StoreError("its row cannot be found by its id")
    stored, payloads = found
    parts = joined_one_by_one(stored, payloads, _MOST_RECORD_BYTES)
    if stored.snapshot is not None:
        decode_state(next(parts))
    for record in parts:
        decode_event(record)
    _refuse_gaps(stored, connection.execute(_LAST_SEQ, (execution_id,)).fetchone()[0])


def _refuse_gaps(stored: StoredExecution, last_seq: int) -> None:
    """Raise if records are missing between the snapshot and the last record."""
    if stored.snapshot is None and not stored.records:
        raise StoreError("it has neither records nor a snapshot")
    expected = max(last_seq - stored.snapshot_seq, 0)
    if len(stored.records) != expected:
        raise StoreError(f"{expected - len(stored.records)} of {expected} records are missing")


def _refuse_missing(path: Path) -> None:
    if not path.is_file():
        raise StoreError(f"{path}: there is no such file")


@contextmanager
def _draft_of(target: Path, *, replaces: bool = False) -> Iterator[Path]:
    """Return a new file that gets the target's name once it is complete and on disk.

    Raises:
        StoreError: The target exists and must not be replaced.
        OSError: It cannot be written.
    """
    if not replaces and target.exists():
        raise StoreError(f"{target} exists already: choose another name, or move it away")
    draft = target.with_name(target.name + _DRAFT)
    draft.unlink(missing_ok=True)
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        yield draft
        _sync(draft)
        draft.replace(target)
        _sync(target.parent)
    finally:
        for leftover in (draft, draft.with_name(draft.name + "-journal")):
            with suppress(OSError):
                leftover.unlink()


def _keep_aside(path: Path) -> Path | None:
    """Give a database a second name, and move its ``-wal`` file to that name.

    The first name stays until the backup takes it, so there is a database at every moment. A kill
    in between leaves a database that is refused for its missing ``-wal`` file, or one that needs
    none. SQLite rebuilds the index of the ``-wal`` file.
    """
    if not path.exists():
        return None
    number = 1
    while (kept := path.with_name(f"{path.name}.before-restore-{number}")).exists():
        number += 1
    os.link(path, kept)
    if wal_path(path).exists():
        wal_path(path).rename(wal_path(kept))
    path.with_name(path.name + "-shm").unlink(missing_ok=True)
    return kept


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
