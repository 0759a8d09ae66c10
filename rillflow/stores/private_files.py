"""Files that only their owner may read and write, whatever folder they lie in."""

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

PRIVATE: Final = 0o600
_OTHERS: Final = 0o077


def make_private(path: Path) -> None:
    """Make an empty file for its owner only, unless there is a file.

    Raises:
        OSError: It cannot be made.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE))


def close_to_others(paths: Iterable[Path]) -> None:
    """Have only their owner read and write these files, where that is this user.

    A file keeps its mode when a program writes over it, so what an earlier release has made,
    or another program has copied here, may be open to others. What is missing is passed over.
    """
    for path in paths:
        with suppress(OSError):
            found = path.lstat()
            is_open = stat.S_ISREG(found.st_mode) and found.st_mode & _OTHERS
            if is_open and found.st_uid == os.geteuid():
                path.chmod(PRIVATE)
