"""A bound for how many processes of a machine compute at the same time, shared by workspace.

Each of very many processes that compute would get a small part of a processor, also while it holds
what others wait for, such as the write lock of a store.

Used by `runtime/owner/dedicated_turns.py`.
"""

import fcntl
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

HOLD_S: Final = 0.1
"""So long a process keeps a slot for which another one waits."""
POLL_S: Final = 0.03
NEXT_POLL_S: Final = 0.005
"""Between the looks of the one that is next."""


class ProcessorSlot:
    """The slot of one process, of as many as the machine has processors.

    Slots are locks of the system on files, which it releases when their process dies. Nobody is
    told that one is free, so those that want one ask again and again: of all processes only one,
    the next, and of each workspace one asks to be that. What cannot be locked is not bounded.
    """

    def __init__(
        self,
        folder: Path | None,
        workspace: str,
        *,
        slots: int | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Lock files in a folder of this user alone, which all of these processes share.

        There are ``slots`` slots, by default as many as processors.
        """
        self._folder = folder
        self._clock_s = clock_s
        digest = hashlib.sha256(workspace.encode()).hexdigest()[:16]
        self._of_workspace = _FileTurn(self._path(digest))
        self._next = _FileTurn(self._path("next"))
        self._slots = [
            _FileTurn(self._path(str(number))) for number in range(slots or os.cpu_count() or 1)
        ]
        self._slot: _FileTurn | None = None
        self._since_s = 0.0

    def take(self) -> bool:
        """Tell whether this process may compute now; if not, it asks again ``pause_s`` later."""
        if self._folder is None:
            return True
        try:
            return self._keeps() or self._gets()
        except OSError:
            return True

    @property
    def pause_s(self) -> float:
        """When to ask again."""
        return NEXT_POLL_S if self._next.is_held else POLL_S

    def give_back(self) -> None:
        """Compute no more for now."""
        for lock in (self._slot, self._next, self._of_workspace):
            if lock is not None:
                lock.release()
        self._slot = None

    def _keeps(self) -> bool:
        if self._slot is None:
            return False
        if self._clock_s() - self._since_s < HOLD_S:
            return True
        if self._next.take():  # nobody else is
            self._next.release()
            self._since_s = self._clock_s()
            return True
        self.give_back()
        return False

    def _gets(self) -> bool:
        if not self._of_workspace.take() or not self._next.take():
            return False
        self._slot = next((each for each in self._slots if each.take()), None)
        if self._slot is None:
            return False
        self._since_s = self._clock_s()
        self._next.release()
        self._of_workspace.release()
        return True

    def _path(self, name: str) -> Path | None:
        return None if self._folder is None else self._folder / name


class _FileTurn:
    """A lock of the system on a file, which is opened when it is first asked for."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: int | None = None
        self.is_held = False

    def take(self) -> bool:
        """Take it if nobody has it; tell whether this process holds it.

        Raises:
            OSError: There is no such file, or it has no locks.
        """
        if self.is_held or self._path is None:
            return True
        if self._file is None:
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        self.is_held = True
        return True

    def release(self) -> None:
        """Let others have it."""
        if self.is_held and self._file is not None:
            self.is_held = False
            fcntl.flock(self._file, fcntl.LOCK_UN)
