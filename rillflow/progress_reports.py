"""What functions say about their progress, while Rillflow runs them.

A function calls ``rillflow.progress``. Whoever runs it says where that goes: with ``reporting_to``
in a process that runs one function at a time, else with ``reporting_in_context``.

Used by `ray_tasks/tasks.py`, `ray_tasks/worker.py` and `functions/running.py`.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from numbers import Integral, Real
from typing import Any, Final, TypeAlias

PAUSE_S: Final = 0.5
"""Reports leave the process of a function at least so long after each other; the latest counts."""
MESSAGE_CHARACTERS: Final = 200
"""Limit of the characters of a message; what is longer is cut."""

Send: TypeAlias = Callable[[float | None, str], object]

_reports: "_Reports | None" = None
_reports_in_context: ContextVar["_Reports | None"] = ContextVar("reports", default=None)


def progress(fraction: float | None = None, message: str = "") -> None:
    """Say how far the task has come that runs this function.

    It may be called as often as one likes: the latest report is kept, some seconds apart. Outside
    of a task it does nothing.

    Args:
        fraction: From 0 to 1; None if it is not known.
        message: What is being done, such as "frame 12 of 30".

    Raises:
        ValueError: The fraction is not from 0 to 1.
    """
    if fraction is not None and not 0 <= fraction <= 1:
        raise ValueError(f"the fraction of the progress is from 0 to 1, not {fraction}")
    reports = _reports_in_context.get() or _reports
    if reports is not None and reports.hears():
        text = str(message)[:MESSAGE_CHARACTERS].encode(errors="replace").decode()
        reports.take(None if fraction is None else float(fraction), text)


def report_yielded(value: Any) -> None:
    """Take what a generator yields as its progress: a fraction, a message, or a pair of both.

    Anything else is none. A whole number alone is a result more often than a fraction.
    """
    if isinstance(value, str):
        progress(None, value)
    elif isinstance(value, tuple) and len(value) == 2:
        fraction, message = value
        if isinstance(message, str) and (fraction is None or _is_fraction(fraction)):
            progress(fraction, message)
    elif not isinstance(value, Integral) and _is_fraction(value):
        progress(value)


def _is_fraction(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and 0 <= float(value) <= 1


@contextmanager
def reporting_to(send: Send, hears: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Have what the function says sent there, as long as it runs; one function at a time.

    Args:
        send: Takes it.
        hears: Whether the current thread is one of the function.
    """
    global _reports  # noqa: PLW0603 - also for threads that the function starts
    reports = _reports = _Reports(send, hears)
    try:
        yield
    finally:
        _reports = None
        reports.close()


@contextmanager
def reporting_in_context(send: Send) -> Iterator[None]:
    """Have what the function says sent there that runs in this context, or in a copy of it.

    ``send`` is called in any thread.
    """
    reports = _Reports(send)
    token = _reports_in_context.set(reports)
    try:
        yield
    finally:
        _reports_in_context.reset(token)
        reports.close()


class _Reports:
    """Sends the latest report, at most one in a while."""

    __slots__ = ("_closed", "_due_s", "_latest", "_lock", "_send", "_timer", "hears")

    def __init__(self, send: Send, hears: Callable[[], bool] = lambda: True) -> None:
        self.hears = hears
        self._send = send
        self._lock = threading.Lock()
        self._due_s = 0.0
        self._latest: tuple[float | None, str] | None = None
        self._timer: threading.Timer | None = None
        self._closed = False

    def take(self, fraction: float | None, message: str) -> None:
        with self._lock:
            if self._closed:
                return
            wait_s = self._due_s - time.monotonic()
            if wait_s <= 0:
                self._leave(fraction, message)
                return
            self._latest = fraction, message
            if self._timer is None:
                self._timer = threading.Timer(wait_s, self._leave_latest)
                self._timer.daemon = True
                self._timer.start()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._timer is not None:
                self._timer.cancel()

    def _leave_latest(self) -> None:
        with self._lock:
            self._timer = None
            if self._latest is not None and not self._closed:
                self._leave(*self._latest)

    def _leave(self, fraction: float | None, message: str) -> None:
        self._latest = None
        self._due_s = time.monotonic() + PAUSE_S
        self._send(fraction, message)
