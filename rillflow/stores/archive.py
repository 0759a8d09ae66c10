"""The archive: ended executions as lines of JSON, in one file for each day.

Retention writes to it before it removes executions; nothing reads it.

Used by `actors/stack_retention.py` and `runtime/retention.py`.
"""

import asyncio
import fcntl
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from rillflow.core.encoding.codec import snapshot_text
from rillflow.ports.storage.store import ExecutionSummary, StoredExecution
from rillflow.stores.private_files import make_private

NAME: Final = re.compile(r"executions-\d{4}-\d\d-\d\d\.jsonl")
_BLOCK_BYTES: Final = 64 * 1024
Require: TypeAlias = Callable[[Path, int], None]
"""Refuses to write so many bytes to a folder, by an ``OSError``."""


def plenty(folder: Path, more_bytes: int) -> None:
    """Refuse nothing."""


class Archive:
    """A folder with files like ``executions-2026-01-31.jsonl``; days are UTC's.

    A file ends with a whole line: what of another is there after a crash, or after the disk was
    full, is cut off, since its execution was not removed and comes again.
    """

    def __init__(self, folder: Path, require: Require = plenty) -> None:
        """Write to a folder, as long as ``require`` lets it."""
        self._folder = folder
        self._require = require
        self._is_mended = False

    async def append(self, lines: Sequence[bytes], *, at_ms: int) -> None:
        """Add lines to the file of a day; when this returns, they are on disk.

        Raises:
            OSError: They could not be written; none of them is there then.
        """
        day = datetime.fromtimestamp(at_ms / 1000, UTC).date()
        path = self._folder / f"executions-{day.isoformat()}.jsonl"
        await asyncio.to_thread(self._append, path, b"".join(line + b"\n" for line in lines))

    def _append(self, path: Path, text: bytes) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._is_mended:
            # A crash may have been on another day.
            for each in sorted(self._folder.iterdir()):
                if NAME.fullmatch(each.name) and not each.is_symlink():
                    _cut_torn_line(each)
            self._is_mended = True
        self._require(self._folder, len(text))
        _append(path, text)


def archive_line(summary: ExecutionSummary, stored: StoredExecution) -> bytes:
    """Write an ended execution as one line of JSON.

    ``state`` is its last snapshot: the context, and every task with input, output and
    times. ``records`` are the journal records after it, as base64; usually there are none.
    """
    fields = {
        **msgspec.structs.asdict(summary),
        "definition_id": stored.definition_id,
        "parent_id": stored.parent_id,
        "state": None if stored.snapshot is None else msgspec.Raw(snapshot_text(stored.snapshot)),
        "records": stored.records,
    }
    return msgspec.json.encode(fields)


def _append(path: Path, text: bytes) -> None:
    is_new = not path.exists()
    make_private(path)
    with _opened(path) as file:
        _lock(file)
        end = _end_of_lines(file)
        file.truncate(end)
        file.seek(end)
        try:
            _write(file, text)
            os.fsync(file.fileno())
        except OSError:
            file.truncate(end)
            raise
    if is_new:
        _sync_folder(path.parent)


def _opened(path: Path) -> FileIO:
    """Open a file to write in it; whoever can make links in the folder has no other one changed.

    Raises:
        OSError: It is a link, or cannot be opened.
    """
    return FileIO(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW), "r+")


def _write(file: FileIO, text: bytes) -> None:
    rest = memoryview(text)
    while rest:
        rest = rest[file.write(rest) :]


def _cut_torn_line(path: Path) -> None:
    with _opened(path) as file:
        _lock(file)
        end = _end_of_lines(file)
        if end < file.seek(0, os.SEEK_END):
            file.truncate(end)


def _lock(file: FileIO) -> None:
    """Keep other stacks that write to the same file waiting."""
    with suppress(OSError):  # not every file system has locks
        fcntl.flock(file, fcntl.LOCK_EX)


def _end_of_lines(file: FileIO) -> int:
    """Return where the last whole line of a file ends."""
    end = file.seek(0, os.SEEK_END)
    while end:
        begin = max(end - _BLOCK_BYTES, 0)
        file.seek(begin)
        found = file.read(end - begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0


def _sync_folder(folder: Path) -> None:
    """Make the name of a new file durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
