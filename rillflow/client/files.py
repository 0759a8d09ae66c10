"""Reading of the files that a caller names: ordinary ones, up to a limit.

A pipe may never end, nor a device, and a sparse file may be larger than memory.

Used by `client` and `cli`.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

_KINDS: Final = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open an ordinary file for reading.

    Raises:
        OSError: It cannot be read, or is a folder, a pipe, a socket or a device.
    """
    # Without O_NONBLOCK, opening a pipe waits until somebody writes to it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
    if kind == stat.S_IFDIR:
        # The next line would raise it too, with the number of the descriptor as the name.
        os.close(descriptor)
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor, not a path
        if kind != stat.S_IFREG:
            named = _KINDS.get(kind, "something else")
            raise OSError(errno.EINVAL, f"it must be an ordinary file, and is {named}", str(path))
        yield file


def content_of(path: Path, *, most_bytes: int) -> bytes:
    """Return the content of an ordinary file.

    Raises:
        OSError: It cannot be read, is no ordinary file, or has more than ``most_bytes``.
    """
    with opened(path) as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError(
            errno.EFBIG, f"it has more than {most_bytes} bytes, the limit of this file", str(path)
        )
    return content
