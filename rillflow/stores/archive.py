"""The archive: ended executions as lines of JSON, in one file for each day.

Retention writes to it before it removes executions; nothing reads it.

Used by `actors/stack_retention.py` and `runtime/archived.py`.
"""

import asyncio
import fcntl
import os
import re
import time
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from io import FileIO
from itertools import chain
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from rillflow.core.encoding.codec import snapshot_parts
from rillflow.ports.storage.store import ExecutionSummary, StoredExecution
from rillflow.stores.private_files import make_private

NAME: Final = re.compile(r"executions-\d{4}-\d\d-\d\d\.jsonl")
WRITE_BYTES: Final = 1 << 20
"""So much of lines is collected for a write, which is on disk before the next one begins."""
_BLOCK_BYTES: Final = 64 * 1024
_BASE64_BYTES: Final = 3 << 16
"""So much of a record is encoded at once; a multiple of three, so that no padding is within it."""
Text: TypeAlias = bytes | memoryview
Line: TypeAlias = Iterable[Text]
"""A line without its end, in parts."""
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

    async def append(self, lines: Iterable[Line], *, at_ms: int) -> None:
        """Add lines to the file of a day; when this returns, they are on disk.

        Their parts are made in a thread, one after another. After each megabyte the disk is left to
        others for as long as it took.

        Raises:
            OSError: They could not be written; none of them is there then.
            Exception: A part could not be made; as above.
        """
        day = datetime.fromtimestamp(at_ms / 1000, UTC).date()
        path = self._folder / f"executions-{day.isoformat()}.jsonl"
        await asyncio.to_thread(self._append, path, lines)

    def _append(self, path: Path, lines: Iterable[Line]) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._is_mended:
            # A crash may have been on another day.
            for each in sorted(self._folder.iterdir()):
                if NAME.fullmatch(each.name) and not each.is_symlink():
                    _cut_torn_line(each)
            self._is_mended = True
        _append(path, self._allowed(_in_writes(lines)))

    def _allowed(self, texts: Iterator[list[Text]]) -> Iterator[list[Text]]:
        """Yield what is written at once, if there is room for it."""
        for parts in texts:
            self._require(self._folder, sum(map(len, parts)))
            yield parts


def archive_line(summary: ExecutionSummary, stored: StoredExecution) -> Iterator[Text]:
    """Write an ended execution as one line of JSON, in parts.

    ``state`` is its last snapshot: the context, and every task with input, output and
    times. ``records`` are the journal records after it, as base64; usually there are none.
    """
    fields = {
        **msgspec.structs.asdict(summary),
        "definition_id": stored.definition_id,
        "parent_id": stored.parent_id,
    }
    yield msgspec.json.encode(fields)[:-1] + b',"state":'
    if stored.snapshot is None:
        yield b"null"
    else:
        yield from snapshot_parts(stored.snapshot)
    yield b',"records":['
    for number, record in enumerate(stored.records):
        yield b',"' if number else b'"'
        for start in range(0, len(record), _BASE64_BYTES):
            yield b64encode(record[start : start + _BASE64_BYTES])
        yield b'"'
    yield b"]}"


def _in_writes(lines: Iterable[Line]) -> Iterator[list[Text]]:
    """Yield the parts of lines and their ends, collected to what is written at once."""
    parts, size_bytes = list[Text](), 0
    for line in lines:
        for part in line:
            for each in _slices(part):
                parts.append(each)
                size_bytes += len(each)
                if size_bytes >= WRITE_BYTES:
                    yield parts
                    parts, size_bytes = [], 0
        parts.append(b"\n")
        size_bytes += 1
    if parts:
        yield parts


def _slices(part: Text) -> Iterator[Text]:
    if len(part) <= WRITE_BYTES:
        yield part
        return
    view = memoryview(part)
    for start in range(0, len(view), WRITE_BYTES):
        yield view[start : start + WRITE_BYTES]


def _append(path: Path, texts: Iterator[list[Text]]) -> None:
    first = next(texts, None)
    if first is None:
        return
    is_new = not path.exists()
    make_private(path)
    with _opened(path) as file:
        _lock(file)
        end = _end_of_lines(file)
        file.truncate(end)
        file.seek(end)
        try:
            _write_all(file, chain([first], texts))
        except BaseException:
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


def _write_all(file: FileIO, texts: Iterable[list[Text]]) -> None:
    """Write texts, each durably, with a rest between two as long as the first of them took."""
    took_s = 0.0
    for parts in texts:
        time.sleep(took_s)
        begun_s = time.monotonic()
        _write(file, b"".join(parts))
        os.fsync(file.fileno())
        took_s = time.monotonic() - begun_s


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
