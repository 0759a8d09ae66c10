"""A record of what a process is handling, in memory that survives the process.

A process that is killed (for its memory, or by a fault in native code) cannot report what it was
doing. So an owner records every step before it, in a memory-mapped page of a file. That costs a
fraction of a microsecond, and the next process on this machine reads it. Nothing is flushed to a
disk, since no execution is to blame for a failure of the machine.
"""

import hashlib
import logging
import mmap
import os
import shutil
import stat
import tempfile
import uuid
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from rillflow.ids import ExecutionId, is_execution_id
from rillflow.ports.executions import Call, Delivery, Query

log = logging.getLogger("rillflow.crashes")

REPLAY: Final = "replay"
OUTSTANDING: Final = "outstanding"
COMMANDS: Final = "commands"
"""Carrying out the commands of an execution: timers, calls, and hooks around them."""

_SIZE: Final = 4096
_PLACES: Final = ("/dev/shm", tempfile.gettempdir())  # noqa: S108 - checked to be ours
"""Shared memory comes first: on a full disk, writing to a page of a file kills the process."""


class Handling(NamedTuple):
    """What a process was doing, and for which execution; ``life`` is different for each process."""

    life: str
    execution_id: ExecutionId
    step: str


class HandlingRecord:
    """The place where one owner records what it is handling.

    ``left`` is what the process before was handling when it died, None if it was handling nothing
    or if that is unknown. It is there until ``open`` starts the record of this process, so it must
    be stored before.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Keep the record in a file; without one, nothing is recorded."""
        self._path = path
        self._life = uuid.uuid4().hex
        self._page: mmap.mmap | bytearray = bytearray(_SIZE)
        self.left = None if path is None else _read(path)

    def open(self) -> None:
        """Start the record of this process in place of the one before.

        The earlier process may still be alive; it continues to write into a file that nobody reads.
        """
        if self._path is None:
            return
        draft = self._path.with_name(f"{self._path.name}.{self._life}")
        try:
            descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                # The page is allocated from here on, so that no later write to it can fail.
                os.write(descriptor, bytes(_SIZE))
                self._page = mmap.mmap(descriptor, _SIZE)
            finally:
                os.close(descriptor)
            draft.replace(self._path)
        except OSError as error:
            log.warning("handling_not_recorded", extra={"reason": str(error)})

    def begin(self, execution_id: ExecutionId, step: str) -> None:
        """Record what is handled from now on, in place of the last."""
        text = f"{self._life} {execution_id} {step}\0".encode("utf-8", "replace")
        if len(text) > _SIZE:
            text = text[:_SIZE]
        self._page[: len(text)] = text

    def end(self) -> None:
        """Record that nothing is handled now."""
        self._page[0] = 0

    def remove(self) -> None:
        """Remove the file, because its owner leaves for good."""
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink()


def step_of(call: Call) -> str:
    """Return the name of the step of a call, the same for every repetition of the call."""
    if isinstance(call, Delivery):
        event = call.event
        task, attempt = getattr(event, "task", ""), getattr(event, "attempt", None)
        return _step(type(event).__name__, task, attempt)
    return f"view {call.kind}" if isinstance(call, Query) else type(call).__name__


@lru_cache(maxsize=4096)
def _step(kind: str, task: str, attempt: int | None) -> str:
    """Return the name of a step; cached, because every event needs one."""
    return f"{kind} {task} {attempt or ''}".rstrip()


def record_path(store_url: str, namespace: str, owner: str) -> Path | None:
    """Return the record file of an owner of a stack, None if there is no place for it.

    The folder belongs to this user alone, and the next process of the stack finds it again.
    """
    folders = _folders(store_url, namespace)
    for folder in folders:
        if _is_ours(folder):
            return folder / owner.rpartition("_c_")[2]
    log.warning("handling_not_recorded", extra={"reason": f"{folders[0]} is somebody else's"})
    return None


def remove_records(store_url: str, namespace: str) -> None:
    """Remove the records of a stack that was stopped normally."""
    for folder in filter(_is_ours, _folders(store_url, namespace)):
        shutil.rmtree(folder, ignore_errors=True)


def _folders(store_url: str, namespace: str) -> list[Path]:
    url = urlsplit(store_url)
    # Without user and password, because everybody can read the name of the folder.
    stack = f"{url.scheme}|{url.hostname}|{url.port}|{url.path}|{namespace}"
    name = f"rillflow-{os.geteuid()}-{hashlib.sha256(stack.encode()).hexdigest()[:16]}"
    return [Path(place) / name for place in _PLACES]


def _is_ours(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return False
    is_private = stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077
    return is_private and found.st_uid == os.geteuid()


def _read(path: Path) -> Handling | None:
    try:
        return parse_page(path.read_bytes())
    except OSError:
        return None


def parse_page(page: bytes) -> Handling | None:
    """Parse a page; None if the process handled nothing, or the page is damaged."""
    try:
        text = page[:_SIZE].partition(b"\0")[0].decode()
    except ValueError:
        return None
    life, _, rest = text.partition(" ")
    execution_id, _, step = rest.partition(" ")
    return Handling(life, execution_id, step) if is_execution_id(execution_id) else None
