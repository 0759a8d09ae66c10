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
from typing import Final

import msgspec
import ray

from rillflow.ports.task_logs import NAME, LogPart, LogPlace

FIRST_LOOK_S: Final = 1.0
"""After so long it is looked whether a function that still runs has printed something."""

_encoder: Final = msgspec.json.Encoder()


class WorkerLog:
    """The output of the function that begins now; others of this process came before it."""

    __slots__ = ("_begins", "_begun_s", "_is_shown", "announce")

    def __init__(self, *, is_shown: bool = True) -> None:
        _flush()  # what was printed before
        self._is_shown = is_shown
        self._begins = [_size(number) for number in (1, 2)]
        self._begun_s = time.monotonic()
        self.announce: Callable[[], object] | None = None

    def so_far(self) -> str | None:
        """Return the place of what the function prints, None if that is nothing yet."""
        return self._place(has_ended=False)

    def ended(self) -> str | None:
        """Return the place of what the function has printed, None if that is nothing."""
        _flush()
        return self._place(has_ended=True)

    def look(self) -> bool:
        """Announce the place once there is something; False if it is too soon."""
        if time.monotonic() - self._begun_s < FIRST_LOOK_S or self.so_far() is None:
            return False
        if self.announce is not None:
            self.announce()
        return True

    def _place(self, *, has_ended: bool) -> str | None:
        if not self._is_shown:
            return None
        parts = []
        for number, begin, name in zip((1, 2), self._begins, _names(), strict=True):
            end = _size(number)
            if name and (end > begin or not has_ended):
                parts.append((LogPart(name, begin, end if has_ended else None), end > begin))
        if not any(has_text for _, has_text in parts):
            return None
        return _encoder.encode(LogPlace(_node(), [part for part, _ in parts])).decode()


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
    try:
        name = os.path.basename(os.readlink(f"/proc/self/fd/{number}"))  # noqa: PTH115, PTH119
    except OSError:
        return ""
    return name if NAME.fullmatch(name) else ""


@cache
def _node() -> str:
    return str(ray.get_runtime_context().get_node_id())
