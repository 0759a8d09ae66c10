"""SIGINT and SIGTERM of a server in the foreground: the first stops it, the second ends it.

Python's own handlers run only when the main thread comes back from what it waits for, which a Ray
that does not start may never do. So a thread of its own sees the signals, and the time, and ends
the process itself.

Used by `cli/commands/serving.py`.
"""

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Final, TypeAlias

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
INTERRUPTED: Final = 130
FAILED: Final = 1
REPEATS_S: Final = 1.0
"""A signal that comes twice within this time is one: a terminal and a wrapper both send it."""

_STANDARD_ERROR: Final = 2

Handler: TypeAlias = Callable[[int, FrameType | None], Any]


class StopSignals:
    """The signals of a process, from the first one on, and the time that its end may take."""

    def __init__(self, waking: int) -> None:
        self._waking = waking
        self._first_s: float | None = None
        self._ends_s: float | None = None
        self._told: threading.Event | None = None

    @property
    def have_come(self) -> bool:
        """Whether there was a signal."""
        return self._first_s is not None

    def handle(self, handler: Handler) -> None:
        """Have both signals do the same, also where a shell had one of them ignored."""
        for number in SIGNALS:
            signal.signal(number, handler)

    def tell(self, stopped: threading.Event) -> None:
        """Set an event at the first signal.

        The thread does it, and no handler: the next signal may interrupt the main thread within
        ``set``, whose lock a second ``set`` would wait for.
        """
        self._told = stopped
        self.handle(lambda *_: None)
        if self.have_come:
            stopped.set()

    def end_within(self, limit_s: float) -> None:
        """End the process at once when so much time is over."""
        self._ends_s = time.monotonic() + limit_s
        os.write(self._waking, b"\0")

    def watch(self, woken: int) -> None:
        """Wait for signals and for the time; runs in a thread until ``woken`` is closed."""
        while True:
            left_s = None if self._ends_s is None else max(0.0, self._ends_s - time.monotonic())
            is_woken = bool(select.select([woken], [], [], left_s)[0])
            numbers = os.read(woken, 1) if is_woken else b""
            if is_woken and not numbers:
                return
            if not is_woken:
                _end("it does not stop, and is ended", FAILED)
            if numbers[0] not in SIGNALS:
                continue
            if self._is_second():
                _end("ended at once", INTERRUPTED)
            if self._told is not None:
                self._told.set()

    def _is_second(self) -> bool:
        now_s = time.monotonic()
        if self._first_s is None:
            self._first_s = now_s
        return now_s - self._first_s > REPEATS_S


@contextmanager
def stop_signals() -> Iterator[StopSignals]:
    """Watch the signals; afterwards they are as they were found, for whoever goes on here."""
    handlers = [(number, signal.getsignal(number)) for number in SIGNALS]
    woken, waking = os.pipe()
    os.set_blocking(waking, False)
    watched = StopSignals(waking)
    thread = threading.Thread(target=watched.watch, args=(woken,), name="signals", daemon=True)
    thread.start()
    before = signal.set_wakeup_fd(waking, warn_on_full_buffer=False)
    try:
        yield watched
    finally:
        signal.set_wakeup_fd(before)
        for number, handler in handlers:
            signal.signal(number, handler)
        os.close(waking)
        thread.join()
        os.close(woken)


def _end(message: str, code: int) -> None:
    """End the process without its exit handlers; the reaper ends what it has started."""
    text = f"{message}; accepted executions go on at the next start\n"
    with suppress(OSError):
        # The main thread may hold the lock of the stream, and its reader may read nothing.
        os.set_blocking(_STANDARD_ERROR, False)
        os.write(_STANDARD_ERROR, text.encode())
    os._exit(code)
