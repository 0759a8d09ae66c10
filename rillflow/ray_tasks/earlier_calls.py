"""What earlier calls have left in a Ray worker: threads and processes that still print.

A worker makes calls of several workspaces, one after the other. The output of a call is a part of
the worker's file, and its progress what is said meanwhile; so what a call of another workspace has
left must neither print nor report in it. Threads are told by a mark, which says in a call of which
workspace they were started; those that a marked one starts get its mark. A process cannot be told
so: while one that another workspace has left may print, no output of a call is shown.

What is printed past ``sys.stdout`` and ``sys.stderr`` by such a thread, such as by a library in C,
and by a process whose parent has ended, is not noticed.

Used by `ray_tasks/tasks.py`.
"""

import os
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

_MARK: Final = "_rillflow_workspace"
_TRACKER: Final = b"multiprocessing.resource_tracker"
"""A process that Python starts beside others, which prints nothing of theirs."""
_start: Final = threading.Thread.start


class EarlierCalls:
    """Tells what is of the call under way, and what others have left."""

    def __init__(self) -> None:
        self._workspace: str | None = None
        self._processes: set[int] = set()

    def begin(self, workspace: str) -> None:
        """Begin a call of a workspace."""
        if self._workspace is None:
            threading.Thread.start = _starter(self)  # type: ignore[method-assign]
            sys.stdout, sys.stderr = _Heard(sys.stdout, self), _Heard(sys.stderr, self)
        elif self._workspace != workspace:
            self._processes.update(_children())
        self._workspace = workspace

    def hears(self) -> bool:
        """Tell whether the current thread is of the call under way."""
        return self.mark() in (None, self._workspace)

    def mark(self) -> str | None:
        """Return the mark of the current thread, if it has one."""
        found: str | None = getattr(threading.current_thread(), _MARK, None)
        return found

    def mark_of_new(self) -> str | None:
        """Return the mark of a thread that the current one starts."""
        mark = self.mark()
        return self._workspace if mark is None else mark

    def may_print(self) -> bool:
        """Tell whether a process that another workspace has left may print in this call."""
        self._processes = {pid for pid in self._processes if _prints_here(pid)}
        return bool(self._processes)


class _Heard:
    """A stream that takes only what is printed by the call under way."""

    def __init__(self, stream: Any, calls: EarlierCalls) -> None:
        self._stream = stream
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._stream)

    def write(self, text: str) -> int:
        """Write a text, or leave it out; return its length."""
        if self._calls.hears():
            self._stream.write(text)  # that of Ray's workers returns nothing
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write some texts, or leave them out."""
        for line in lines:
            self.write(line)


def _starter(calls: EarlierCalls) -> Any:
    def start(thread: threading.Thread) -> None:
        setattr(thread, _MARK, calls.mark_of_new())
        _start(thread)

    return start


def _children() -> set[int]:
    found: set[int] = set()
    with suppress(OSError):
        for task in Path("/proc/self/task").iterdir():
            with suppress(OSError):  # the thread has ended
                found.update(map(int, (task / "children").read_text(encoding="ascii").split()))
    return found


def _prints_here(pid: int) -> bool:
    """Tell whether a process lives, and has an output of this one."""
    try:
        if _TRACKER in Path(f"/proc/{pid}/cmdline").read_bytes():
            return False
        own = {_file(os.fstat(number)) for number in (1, 2)}
        theirs = {_file(each.stat()) for each in Path(f"/proc/{pid}/fd").iterdir()}
    except OSError:
        return False
    return bool(own & theirs)


def _file(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


calls: Final = EarlierCalls()
