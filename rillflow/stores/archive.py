"""The archive: ended executions as lines of JSON, in one file for each day.

Retention writes to it before it removes executions; nothing reads it.

Used by `actors/execution_actor.py` and `runtime/retention.py`.
"""

import asyncio
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from rillflow.core.encoding.codec import snapshot_text
from rillflow.ports.storage.store import ExecutionSummary, StoredExecution
from rillflow.stores.private_files import make_private


class Archive:
    """A folder with files like ``executions-2026-01-31.jsonl``; days are UTC's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def append(self, lines: Sequence[bytes], *, at_ms: int) -> None:
        """Add lines to the file of a day; when this returns, they are on disk.

        Raises:
            OSError: They could not be written, or not all of them.
        """
        day = datetime.fromtimestamp(at_ms / 1000, UTC).date()
        path = self._folder / f"executions-{day.isoformat()}.jsonl"
        await asyncio.to_thread(_append, path, b"".join(line + b"\n" for line in lines))


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
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    is_new = not path.exists()
    make_private(path)
    with path.open("ab+") as file:
        if not is_new and file.seek(0, os.SEEK_END) > 0:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                # A crash, or a full disk, may have left a partial line, which must not damage the
                # next one.
                text = b"\n" + text
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    if is_new:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make the name of a new file durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
