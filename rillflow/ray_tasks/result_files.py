"""Files that a function of another process has returned by their paths.

The function may have other rights than this process, and may make its result of what its caller
gave. So only files of folders that the operator names are read.

Used by `ray_tasks/caller.py`.
"""

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final

_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def opened_in(folders: Sequence[str], file: Path) -> BinaryIO | None:
    """Open a file that lies in one of the folders, wherever links lead; None if it does not.

    Raises:
        OSError: It cannot be read.
    """
    place = _place_in(folders, file)
    if place is None:
        return None
    descriptor = os.open(place, _FLAGS)
    try:
        # Who may write there may have put a link in the place of a folder meanwhile.
        is_there = _is_same(descriptor, _place_in(folders, place))
    except BaseException:
        os.close(descriptor)
        raise
    if not is_there:
        os.close(descriptor)
        return None
    return os.fdopen(descriptor, "rb")


def _place_in(folders: Sequence[str], file: Path) -> Path | None:
    """Return where a file is without links, if that is in one of the folders."""
    # Nothing is raised where there is no file, or a circle of links: whether one is elsewhere is
    # not told.
    place = Path(os.path.realpath(file))
    return place if any(place.is_relative_to(Path(each).resolve()) for each in folders) else None


def _is_same(descriptor: int, place: Path | None) -> bool:
    """Tell whether an open file is the regular one at a place."""
    if place is None:
        return False
    status = os.fstat(descriptor)
    return stat.S_ISREG(status.st_mode) and os.path.samestat(status, os.lstat(place))
