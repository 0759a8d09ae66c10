"""Files that only their owner may read and write, whatever folder they lie in."""

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

PRIVATE: Final = 0o600
_OTHERS: Final = 0o077
_SUPERUSER: Final = 0


def make_private(path: Path) -> None:
    """Make an empty file for its owner only, unless there is a file.

    Raises:
        OSError: It cannot be made.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE))


def make_private_folder(path: Path) -> None:
    """Make a folder for its owner only, unless there is one that no other user can change.

    Raises:
        PermissionError: It is another user's, or everybody may write in it.
        OSError: It cannot be made.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    reason = why_not_private(path.stat(), os.geteuid())
    if reason:
        raise PermissionError(reason)


def why_not_private(folder: os.stat_result, user: int) -> str:
    """Say why others can replace what a user keeps in a folder; empty where they cannot.

    The superuser can do so anyway. A group may write: it often is the user's own.
    """
    if folder.st_uid not in (user, _SUPERUSER):
        return f"it belongs to another user (uid {folder.st_uid}), who can replace what lies in it"
    if folder.st_mode & stat.S_IWOTH:
        return "everybody may write in it; forbid it by chmod o-w"
    return ""


def close_to_others(paths: Iterable[Path]) -> None:
    """Have only their owner read and write these files, where that is this user.

    A file keeps its mode when a program writes over it, so what an earlier release has made,
    or another program has copied here, may be open to others. What is missing is passed over.
    """
    for path in paths:
        with suppress(OSError):
            close_file_to_others(path)


def close_file_to_others(path: Path) -> None:
    """Have only their owner read and write a file, where that is this user; follow no link.

    Raises:
        OSError: There is none, it is a link, or its mode cannot be changed.
    """
    # Without O_NONBLOCK a pipe would be waited for.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        is_open = stat.S_ISREG(found.st_mode) and found.st_mode & _OTHERS
        if is_open and found.st_uid == os.geteuid():
            os.fchmod(descriptor, PRIVATE)
    finally:
        os.close(descriptor)
