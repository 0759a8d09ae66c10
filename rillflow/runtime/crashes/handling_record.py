"""What a process is handling at this moment, in memory that outlives it.

A process that is killed (for the memory it takes, or by a fault in native code) cannot say what
it was doing. So an owner of executions writes it down before every step, in a page of memory
that belongs to a file: that costs a fraction of a microsecond, and the next life on this machine
reads it. Nothing is flushed to a disk, since a death of the machine is nobody's fault.
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
"""Carrying out what an execution asks for: timers, calls, hooks around them."""

_SIZE: Final = 4096
_PLACES: Final = ("/dev/shm", tempfile.gettempdir())  # noqa: S108 - checked to be ours
"""Memory comes first: a page of a file on a full disk may not be writable, which is fatal."""


class Handling(NamedTuple):
    """What a life was doing, and for which execution; ``life`` is different for each."""

    life: str
    execution_id: ExecutionId
    step: str


class HandlingRecord:
    """Where one owner writes down what it is handling.

    ``left`` is what the life before was handling when it died, None when it was at nothing, or
    when nobody knows. It is there until ``open`` begins a record of this life's own, so what
    is left must be durable before.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Keep the record in a file; without one, nobody will read it."""
        self._path = path
        self._life = uuid.uuid4().hex
        self._page: mmap.mmap | bytearray = bytearray(_SIZE)
        self.left = None if path is None else _read(path)

    def open(self) -> None:
        """Begin the record of this life, in the place of the one before.

        The earlier life may not be dead, and goes on writing into a file that nobody reads.
        """
        if self._path is None:
            return
        draft = self._path.with_name(f"{self._path.name}.{self._life}")
        try:
            descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                # The page exists from here on, so that no later write to it can fail.
                os.write(descriptor, bytes(_SIZE))
                self._page = mmap.mmap(descriptor, _SIZE)
            finally:
                os.close(descriptor)
            draft.replace(self._path)
        except OSError as error:
            log.warning("handling_not_recorded", extra={"reason": str(error)})

    def begin(self, execution_id: ExecutionId, step: str) -> None:
        """Write down what is handled from now on, in the place of what was before."""
        text = f"{self._life} {execution_id} {step}\0".encode("utf-8", "replace")
        if len(text) > _SIZE:
            text = text[:_SIZE]
        self._page[: len(text)] = text

    def end(self) -> None:
        """Write down that nothing is handled now."""
        self._page[0] = 0

    def remove(self) -> None:
        """Remove the file: its owner leaves for good."""
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink()


def step_of(call: Call) -> str:
    """Name what a call has its execution do; the same for every repetition of the call."""
    if isinstance(call, Delivery):
        event = call.event
        task, attempt = getattr(event, "task", ""), getattr(event, "attempt", None)
        return _step(type(event).__name__, task, attempt)
    return f"view {call.kind}" if isinstance(call, Query) else type(call).__name__


@lru_cache(maxsize=4096)
def _step(kind: str, task: str, attempt: int | None) -> str:
    """Make the name once for all executions, since every event asks for it."""
    return f"{kind} {task} {attempt or ''}".rstrip()


def record_path(store_url: str, namespace: str, owner: str) -> Path | None:
    """Return where an owner of a stack records what it handles, None when there is no place.

    The folder belongs to this user alone, and is found again by the next life of the stack.
    """
    folders = _folders(store_url, namespace)
    for folder in folders:
        if _is_ours(folder):
            return folder / owner.rpartition("_c_")[2]
    log.warning("handling_not_recorded", extra={"reason": f"{folders[0]} is somebody else's"})
    return None


def remove_records(store_url: str, namespace: str) -> None:
    """Remove the records of a stack that was stopped, and did not die of what it handled."""
    for folder in filter(_is_ours, _folders(store_url, namespace)):
        shutil.rmtree(folder, ignore_errors=True)


def _folders(store_url: str, namespace: str) -> list[Path]:
    url = urlsplit(store_url)
    # Without user and password: the name of the folder can be seen by everybody.
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
    """Read what a life has written down; None when it handled nothing, or it makes no sense."""
    try:
        text = page[:_SIZE].partition(b"\0")[0].decode()
    except ValueError:
        return None
    life, _, rest = text.partition(" ")
    execution_id, _, step = rest.partition(" ")
    return Handling(life, execution_id, step) if is_execution_id(execution_id) else None
