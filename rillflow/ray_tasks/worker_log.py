"""Where in the files of a Ray worker the output of one function is.

Used by `ray_tasks/tasks.py`.
"""

import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from itertools import count
from typing import ClassVar, Final

import msgspec
import ray

from rillflow.ports.log_ends import forget, note
from rillflow.ports.task_logs import NAME, LogPart, LogPlace

FIRST_LOOK_S: Final = 1.0
"""After so long it is looked whether a function that still runs has printed something."""

_encoder: Final = msgspec.json.Encoder()
_numbers: Final = count(1)
"""Those of the calls of this process that have told a place without an end."""


class WorkerLog:
    """The output of the function that begins now; others of this process came before it."""

    __slots__ = ("_begins", "_begun_s", "_call", "_ends", "_is_shown", "_lock", "announce")
    _latest: "ClassVar[WorkerLog | None]" = None

    def __init__(self, *, is_shown: bool = True) -> None:
        latest = WorkerLog._latest
        if latest is not None:
            latest.end()  # unless it has ended, whatever has kept it from that
        _flush()  # what was printed before
        self._is_shown = is_shown
        self._begins = _sizes()
        self._ends: tuple[int, int] | None = None
        self._call: int | None = None
        self._lock = threading.Lock()
        self._begun_s = time.monotonic()
        self.announce: Callable[[], object] | None = None
        WorkerLog._latest = self

    def so_far(self) -> str | None:
        """Return the place of what the function prints, None if that is nothing yet."""
        with self._lock:
            if self._ends is not None:
                return self._place(self._ends)
            if not self._is_shown or _sizes() == self._begins:
                return None
            if self._call is None and not self._is_noted(next(_numbers)):
                return None
            return self._place(None)

    def end(self) -> None:
        """End the output here, unless that was done; places that were told end here too."""
        if self._ends is not None:
            return
        _flush()
        ends = _sizes()
        with self._lock:
            if self._call is not None:
                _note(self._call, self._begins, ends)
            self._ends = ends

    def ended(self) -> str | None:
        """Return the place of what the function has printed, None if that is nothing."""
        self.end()
        return self.so_far()

    def look(self) -> bool:
        """Announce the place once there is something; False if it is too soon."""
        if time.monotonic() - self._begun_s < FIRST_LOOK_S or self.so_far() is None:
            return False
        if self.announce is not None:
            self.announce()
        return True

    def _is_noted(self, call: int) -> bool:
        """Note that a place without an end is told; else nobody may be told one."""
        if not _note(call, self._begins, None):
            return False
        self._call = call
        return True

    def _place(self, ends: tuple[int, int] | None) -> str | None:
        """Return the place of all that is printed, or of what was printed up to the ends."""
        if not self._is_shown:
            return None
        names, begins = _names(), self._begins
        if ends is None:
            parts = [
                LogPart(name, begin, call=self._call)
                for name, begin in zip(names, begins, strict=True)
                if name
            ]
        else:
            parts = [
                LogPart(name, begin, end)
                for name, begin, end in zip(names, begins, ends, strict=True)
                if name and end > begin
            ]
        return _encoder.encode(LogPlace(_node(), parts)).decode() if parts else None


class LogWatch:
    """Announces the logs of functions that run for long, from one thread of this process."""

    def __init__(self) -> None:
        self._current: WorkerLog | None = None
        self._thread: threading.Thread | None = None

    def begin(self, log: WorkerLog, announce: Callable[[], object]) -> None:
        """Watch the log of a function in place of the last one."""
        log.announce = announce
        self._current = log
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, name="rillflow-log", daemon=True)
            self._thread.start()

    def end(self) -> None:
        """Watch nothing."""
        self._current = None

    def _look(self) -> None:
        while True:
            time.sleep(FIRST_LOOK_S)
            log = self._current
            with suppress(Exception):  # the next look tries again
                if log is not None and log.look() and self._current is log:
                    self._current = None


watch: Final = LogWatch()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # a function may have replaced or closed it
            stream.flush()


def _note(call: int, begins: tuple[int, int], ends: tuple[int, int] | None) -> bool:
    """Note where a call is, and tell whether anybody who reads knows; no note shows nothing."""
    log = next(filter(None, _names()), "")
    if not log:
        return False
    try:
        note(_folder(), log, call, begins, ends)
    except OSError:
        with suppress(OSError):
            forget(_folder(), log)
        return False
    return True


def _sizes() -> tuple[int, int]:
    return _size(1), _size(2)


def _size(number: int) -> int:
    try:
        return os.fstat(number).st_size
    except OSError:
        return 0


@cache
def _names() -> tuple[str, str]:
    """Return the names of the files that this process writes to; empty if Ray has made none."""
    first, second = (_name(number) for number in (1, 2))
    return first, second


def _name(number: int) -> str:
    name = os.path.basename(_path(number))  # noqa: PTH119
    return name if NAME.fullmatch(name) else ""


@cache
def _folder() -> str:
    return os.path.dirname(_path(1 if _names()[0] else 2))  # noqa: PTH120


def _path(number: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{number}")  # noqa: PTH115
    except OSError:
        return ""


@cache
def _node() -> str:
    return str(ray.get_runtime_context().get_node_id())
