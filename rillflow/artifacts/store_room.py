"""The room that artifacts leave free on a local disk: bytes, and inodes for small files.

Used by `artifacts/store.py`.
"""

import errno
import os
import tempfile
from typing import Final

BYTES_OF_INODE: Final = 16_384
"""Bytes of a disk for which it has one inode, as ext4 makes them: one that is free is so many."""


def require_free(folder: str | None, least_bytes: int, more_bytes: int = 0) -> None:
    """Refuse to take more of a disk than leaves enough of it free.

    Args:
        folder: A folder of the disk; that for temporary files if it is None.
        least_bytes: How much must stay free; 0 is nothing.
        more_bytes: How much is to be taken.

    Raises:
        OSError: Its number is ``ENOSPC``.
    """
    if least_bytes and free_bytes(os.statvfs(folder or tempfile.gettempdir())) < (
        least_bytes + more_bytes
    ):
        raise OSError(
            errno.ENOSPC,
            "the disk for artifacts is full: artifacts_min_free_bytes"
            f" ({least_bytes}) must stay free, and one inode for each {BYTES_OF_INODE} of them",
        )


def free_bytes(disk: os.statvfs_result) -> int:
    """Return how many bytes of a disk are free, or fewer where it has few inodes."""
    found = disk.f_bavail * disk.f_frsize
    # A file system without a fixed number of inodes tells of none.
    return min(found, disk.f_favail * BYTES_OF_INODE) if disk.f_files else found
