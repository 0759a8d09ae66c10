"""A bound for the memory that processes of this machine take together, shared by workspace.

Used by `runtime/owner`.
"""

import asyncio
import fcntl
import hashlib
import logging
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

log = logging.getLogger("rillflow.memory")

FRESH_S: Final = 0.5
"""How long what was measured is taken for the present state."""
POLL_S: Final = 0.05
LONGEST_WAIT_S: Final = 10.0
"""How long the one whose turn it is waits for room; then it goes on, so that each comes to it."""
_AFTER_NAME: Final = ")"
_START, _RESIDENT = 19, 21
"""Places of the start of a process, in ticks, and of its pages in RAM, after its name."""


class _Record(NamedTuple):
    """What a process noted as it began: when it started, its pages in RAM, and its workspace."""

    start: int
    pages: int
    workspace: str


class MemoryBound:
    """The part of one process in what some processes of one machine may take together.

    Each notes in a file what it has in RAM before it does anything; what it has beyond that later
    is counted. Where that is more than there may be of all, the workspaces that have more than
    an equal part are to give memory up, and those that want more than a little take turns in each
    workspace. What cannot be measured is not bounded.
    """

    def __init__(
        self,
        folder: Path | None,
        workspace: str,
        most_bytes: int | None,
        *,
        proc: Path = Path("/proc"),
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Note in a folder of this user alone, which all of these processes share."""
        self._folder = folder
        self._workspace = hashlib.sha256(workspace.encode()).hexdigest()[:16]
        self._most_bytes = most_bytes
        self._proc = proc
        self._clock_s = clock_s
        self._measured_s = float("-inf")
        self._is_reached = False

    def begin(self, pid: int | None = None) -> None:
        """Note what this process takes now."""
        pid = os.getpid() if pid is None else pid
        found = self._stat(str(pid))
        if self._folder is None or found is None:
            return
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            text = f"{found[0]} {found[1]} {self._workspace}"
            (self._folder / str(pid)).write_text(text, encoding="ascii")
        except OSError as error:
            log.warning("memory_not_bounded", extra={"reason": str(error)})

    @property
    def is_reached(self) -> bool:
        """Tell whether this process is to give memory up, and to take no more."""
        now_s = self._clock_s()
        if now_s - self._measured_s >= FRESH_S:
            self._measured_s, self._is_reached = now_s, self._measured()
        return self._is_reached

    @asynccontextmanager
    async def room(self) -> AsyncIterator[None]:
        """Hold the turn of its workspace to take more memory, once there is room."""
        file = self._opened()
        try:
            await _until(lambda: file is None or _is_taken(file))
            end_s = self._clock_s() + LONGEST_WAIT_S
            await _until(lambda: not self.is_reached or self._clock_s() >= end_s)
            yield
            self._measured_s = float("-inf")
        finally:
            if file is not None:
                os.close(file)

    def _opened(self) -> int | None:
        if self._folder is None:
            return None
        try:
            path = self._folder / f"{self._workspace}.turn"
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return None  # the stack stops

    def _measured(self) -> bool:
        if self._folder is None or self._most_bytes is None:
            return False
        taken = Counter[str]()
        for pages, workspace in self._beyond(self._folder):
            taken[workspace] += pages
        taken = +taken
        most = self._most_bytes // os.sysconf("SC_PAGE_SIZE")
        return taken.total() > most and taken[self._workspace] > most // len(taken)

    def _beyond(self, folder: Path) -> Iterator[tuple[int, str]]:
        """Yield how many pages more than at first each process has; forget those that left."""
        with suppress(OSError):
            for file in folder.iterdir():
                if not file.name.isdecimal() or (noted := _read(file)) is None:
                    continue
                found = self._stat(file.name)
                if found is None or found[0] != noted.start:
                    with suppress(OSError):
                        file.unlink()
                else:
                    yield max(found[1] - noted.pages, 0), noted.workspace

    def _stat(self, pid: str) -> tuple[int, int] | None:
        """Return when a process started, and its pages in RAM; None if there is none."""
        try:
            text = (self._proc / pid / "stat").read_text(encoding="utf-8", errors="replace")
            fields = text.rpartition(_AFTER_NAME)[2].split()
            return int(fields[_START]), int(fields[_RESIDENT])
        except (OSError, ValueError, IndexError):
            return None


def _read(file: Path) -> _Record | None:
    try:
        start, pages, workspace = file.read_text(encoding="ascii").split()
        return _Record(int(start), int(pages), workspace)
    except (OSError, ValueError):  # it is being written
        return None


async def _until(is_so: Callable[[], bool]) -> None:
    while True:
        if is_so():
            return
        await asyncio.sleep(POLL_S)


def _is_taken(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
