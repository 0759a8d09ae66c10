"""Where the output of a call ends that has told its place while it ran.

Such a place has no end, and the call may be ended, by a cancellation or its timeout, before it can
tell one. The next call in the worker may be of another workspace. So the worker notes, in a file of
its own beside its logs, which call has told a place, and where its output ends before the next one
begins. Without such a note nothing is read at a place without an end.

The file is a ring of ``MOST`` notes, each in the slot of its number. What a function prints does
not get there.

Used by `ports/task_logs.py` and `ray_tasks/worker_log.py`.
"""

import errno
import os
import stat
import struct
from pathlib import Path
from typing import BinaryIO, Final

MOST: Final = 1024
"""The latest calls of a worker that are noted, of those that have told a place without an end."""
_OPEN: Final = -1
# The number is first and last, so that a note that is read while it is replaced is none.
_NOTE: Final = struct.Struct("<6q")


def note(
    folder: str, log: str, call: int, begins: tuple[int, int], ends: tuple[int, int] | None
) -> None:
    """Note the call of this number in a worker.

    Args:
        folder: Where the files of the worker are.
        log: The name of one of its two logs.
        call: The number of the call in the worker.
        begins: Where its output begins, in bytes, in the standard output and in the error output.
        ends: Where it ends; None while the call runs.

    Raises:
        OSError: It could not be written.
    """
    data = _NOTE.pack(call, *begins, *(ends or (_OPEN, _OPEN)), call)
    file = os.open(_path(folder, log), os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        os.pwrite(file, data, call % MOST * _NOTE.size)
    finally:
        os.close(file)


def forget(folder: str, log: str) -> None:
    """Remove the notes of a worker, so that nothing is read at places without an end.

    Raises:
        OSError: They could not be removed.
    """
    _path(folder, log).unlink(missing_ok=True)


def opened(path: Path) -> BinaryIO:
    """Open a file of a worker to read it.

    Functions may write where these files are. Whoever opened a pipe there would wait for ever.

    Raises:
        OSError: There is none, or what is there is no plain file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "no plain file", str(path))
    return os.fdopen(descriptor, "rb")


def noted_end(folder: str, log: str, call: int, begin: int, size: int) -> int:
    """Return where the output of a call ends in a log; ``begin`` if nothing is noted of it.

    Args:
        folder: Where the files of the worker are.
        log: The name of the log.
        call: The number of the call in the worker.
        begin: Where its output begins.
        size: How long the log was before; a call that has not ended by now has written all of it.
    """
    try:
        with opened(_path(folder, log)) as file:
            file.seek(call % MOST * _NOTE.size)
            found = _NOTE.unpack(file.read(_NOTE.size))
    except (OSError, struct.error):
        return begin
    stream = 2 if log.endswith(".err") else 1
    if found[0] != call or found[-1] != call or found[stream] != begin:
        return begin
    end: int = found[stream + 2]
    return size if end == _OPEN else min(end, size)


def _path(folder: str, log: str) -> Path:
    return Path(folder) / f"{log.rpartition('.')[0]}.ends"
