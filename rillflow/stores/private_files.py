"""Files that only their owner may read and write, in any folder.

A file that is there already is not opened, or only as a path: when a process closes any descriptor
of a file, the system releases all of its POSIX locks on it, and those are SQLite's. Another process
would then take itself for the last user of the database, and remove the ``-wal`` file.

Used by `stores/sqlite`, `stores/archive.py`, `local_keys.py` and `serve/stack`.
"""

import errno
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from rillflow.trusted_files.owners import SUPERUSER, why_not_private

PRIVATE: Final = 0o600
_OTHERS: Final = 0o077
_AS_PATH: Final = getattr(os, "O_PATH", os.O_RDONLY)  # other systems than Linux have none


def make_private(path: Path) -> None:
    """Create an empty file for its owner only, unless there is a file.

    Raises:
        OSError: It cannot be created.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE))


def make_private_folder(path: Path) -> None:
    """Create a folder for its owner only, unless there is one that no other user can change.

    Raises:
        PermissionError: It belongs to another user, or others may write in it.
        OSError: It cannot be created.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    reason = why_not_private(path.stat(), os.geteuid())
    if reason:
        raise PermissionError(reason)


def why_foreign(path: Path, user: int, *owners: int) -> str:
    """Return why what lies at a path is not a user's own; empty if it is, or nothing lies there.

    A link is not followed, except one of the user's own to a folder of his: a file that is known
    by two names has two locks. What the superuser, or one of the further owners, has is accepted.

    Raises:
        OSError: It cannot be looked at.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return ""
    owners = (user, SUPERUSER, *owners)
    if stat.S_ISLNK(found.st_mode):
        if found.st_uid not in owners:
            return f"it is a link of another user (uid {found.st_uid})"
        if not path.is_dir():
            return "it is a link; use the file itself"
        return why_not_private(path.stat(), user)
    if found.st_uid not in owners:
        return f"it belongs to another user (uid {found.st_uid})"
    return ""


def close_to_others(paths: Iterable[Path]) -> None:
    """Restrict these files to their owner, if that is this user.

    A file keeps its mode when a program writes over it, so a file of an earlier release, or a copy
    by another program, may be open to others. Missing files are ignored.
    """
    for path in paths:
        with suppress(OSError):
            close_file_to_others(path)


def close_file_to_others(path: Path) -> None:
    """Restrict a file to its owner, if that is this user; do not follow links.

    Raises:
        OSError: There is none, it is a link, or its mode cannot be changed.
    """
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    is_open = stat.S_ISREG(found.st_mode) and found.st_mode & _OTHERS
    if is_open and found.st_uid == os.geteuid():
        _restrict(path, found)


def _restrict(path: Path, seen: os.stat_result) -> None:
    """Restrict the file that was seen there, and no other that has taken its place."""
    descriptor = os.open(path, _AS_PATH | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not os.path.samestat(os.fstat(descriptor), seen):
            return
        if _AS_PATH:
            Path(f"/proc/self/fd/{descriptor}").chmod(PRIVATE)
        else:
            os.fchmod(descriptor, PRIVATE)
    finally:
        os.close(descriptor)
