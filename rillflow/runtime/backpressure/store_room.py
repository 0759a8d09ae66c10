"""The space that must stay free on the disk of a store in a file, and who is asked for it when.

What is new stops first. Orders that let executions go on, signals for those that wait, and the
archive stop when half of the space is left. Outcomes of functions, and what ends or removes
something, never stop, so that executions end and the operator can make room.

Used by `actors/readiness.py`, `actors/stack_retention.py` and `runtime/backpressure`.
"""

import errno
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from rillflow.errors import OverloadedError
from rillflow.ports.clock import Clock
from rillflow.settings import Settings
from rillflow.stores import sqlite_file

FRESH_S: Final = 1.0
"""For how long a reading of the free space is good, where there is much."""
LEAST_FRESH_S: Final = 0.02
"""The same where there is little: a reading takes some microseconds."""
WRITING_BYTES_S: Final = 256 << 20
"""So much may be written in a second, by all processes together."""
WRITTEN_TIMES: Final = 2
"""So many times the data of a submission is written: as its input, and in a context."""
UNAVAILABLE: Final = 503
PART_FOR_ORDERS: Final = 2
"""Orders leave this part of the space free that must stay free, and the archive as well."""


def free_bytes(folder: Path) -> int:
    """Return the free space of the disk of a folder.

    Raises:
        OSError: It cannot be read.
    """
    return shutil.disk_usage(folder).free


class StoreRoom:
    """The space that new executions leave free on the disk of a store in a file.

    What runs needs it to end. A disk of another machine is not known. Pages of the file that are in
    no use count for a half of the space at most, since not everything is written to them; of the
    ``-wal`` file what does not make the database grow.
    """

    def __init__(
        self, settings: Settings, clock: Clock, free_of: Callable[[Path], int] = free_bytes
    ) -> None:
        """Look at the disk of the store of these settings, whose space ``free_of`` returns."""
        self._space = _space(settings, free_of) if settings.store_min_free_bytes else None
        self._least_bytes = settings.store_min_free_bytes
        self._clock = clock
        self._free_bytes: int | None = None
        self._inside = 0, 0
        self._until_s = self._inside_until_s = self._window_until_s = 0.0
        self._taken_bytes = self._taken_before_bytes = 0

    def require(self, more_bytes: int = 0) -> None:
        """Refuse something new where the disk has too little space for so many bytes more.

        Raises:
            OverloadedError: It has (503).
        """
        self._require(self._least_bytes, more_bytes)
        self._taken_bytes += more_bytes

    def require_for_order(self) -> None:
        """Refuse an order that lets an execution go on, where the disk has much too little space.

        Raises:
            OverloadedError: It has (503).
        """
        self._require(self._least_bytes // PART_FOR_ORDERS)

    def is_full(self) -> bool:
        """Tell whether the disk has too little space, as it was a second ago."""
        return self._is_below(self._least_bytes)

    def _require(self, least_bytes: int, more_bytes: int = 0) -> None:
        if self._is_below(least_bytes, more_bytes):
            raise OverloadedError(
                "the disk of the store is full: store_min_free_bytes"
                f" ({self._least_bytes}) must stay free",
                hint="executions that run go on; the operator makes room on the disk, or has ended"
                " executions removed earlier (keep_finished_s)",
                http_status=UNAVAILABLE,
            )

    def _is_below(self, least_bytes: int, more_bytes: int = 0) -> bool:
        if self._space is None:
            return False
        now_s = self._clock.monotonic_s()
        if now_s >= self._until_s:
            self._read(self._space, now_s)
        if self._free_bytes is None:
            return False
        # What was admitted in the last one or two seconds may not be written yet.
        coming = self._taken_bytes + self._taken_before_bytes + more_bytes
        lacking = least_bytes - self._free_bytes + WRITTEN_TIMES * coming
        if lacking <= 0:
            return False
        unused_bytes, moved_bytes = self._inside
        return min(unused_bytes, least_bytes // 2) + moved_bytes < lacking

    def _read(self, space: "_Space", now_s: float) -> None:
        if now_s >= self._window_until_s:
            is_next = now_s < self._window_until_s + FRESH_S
            self._taken_before_bytes = self._taken_bytes if is_next else 0
            self._taken_bytes, self._window_until_s = 0, now_s + FRESH_S
        with suppress(OSError):  # the store says so itself
            self._free_bytes = space.disk_bytes()
        free = 0 if self._free_bytes is None else self._free_bytes
        if free >= self._least_bytes:
            self._inside = 0, 0
        elif now_s >= self._inside_until_s:
            self._inside_until_s = now_s + FRESH_S
            self._inside = space.inside()
        ahead_s = (free - self._least_bytes) / WRITING_BYTES_S
        self._until_s = now_s + min(max(ahead_s, LEAST_FRESH_S), FRESH_S)


class ArchiveRoom:
    """The space that the archive leaves free on its disk: a half of ``store_min_free_bytes``.

    On the disk of a store in a file, removals need more, which write to the ``-wal`` file.
    """

    def __init__(self, settings: Settings, free_of: Callable[[Path], int] = free_bytes) -> None:
        """Leave what these settings say of a disk, whose space ``free_of`` returns."""
        self._store = _space(settings, free_of)
        self._free_of = free_of
        self._least_bytes = settings.store_min_free_bytes // PART_FOR_ORDERS

    def require(self, folder: Path, more_bytes: int) -> None:
        """Refuse to write so many bytes to a folder.

        Raises:
            OSError: Its number is ``ENOSPC``; or the folder cannot be read.
        """
        if self._least_bytes and self._free_bytes(folder) - more_bytes < self._least_bytes:
            raise OSError(
                errno.ENOSPC,
                f"{os.strerror(errno.ENOSPC)}: the archive leaves a half of store_min_free_bytes"
                f" ({self._least_bytes}) free",
                str(folder),
            )

    def _free_bytes(self, folder: Path) -> int:
        store = self._store
        if store is not None and folder.stat().st_dev == store.folder.stat().st_dev:
            return store.disk_bytes()
        return self._free_of(folder)


class _Space:
    """The space of the file of a store: on its disk, and in the file."""

    def __init__(self, path: Path, free_of: Callable[[Path], int]) -> None:
        from rillflow.stores.sqlite.file_space import file_space_of  # noqa: PLC0415 - only when used
        from rillflow.stores.sqlite.file_use import wal_path  # noqa: PLC0415 - only when used
        from rillflow.stores.sqlite.writer import WAL_MAX_BYTES  # noqa: PLC0415 - only when used

        self.folder = path.parent
        self.inside: Callable[[], tuple[int, int]] = partial(file_space_of, path)
        self._wal, self._wal_bytes = wal_path(path), WAL_MAX_BYTES
        self._free_of = free_of

    def disk_bytes(self) -> int:
        """Return the free space of the disk beyond what the ``-wal`` file needs.

        That file may grow to a length, and what it has goes into the database, which grows by as
        much at most. What is left may be negative.

        Raises:
            OSError: The disk cannot be read.
        """
        wal_bytes = 0
        with suppress(FileNotFoundError):
            wal_bytes = self._wal.stat().st_size
        return self._free_of(self.folder) - max(self._wal_bytes, wal_bytes)


def _space(settings: Settings, free_of: Callable[[Path], int]) -> _Space | None:
    """Return the space of the file of a store; None where it is in no file."""
    path = sqlite_file(settings.store_url)
    return None if path is None else _Space(path, free_of)
