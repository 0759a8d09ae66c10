"""A disk that is full for a while, as the files of this process see it."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

ROOM_BYTES: Final = 4_096


@contextmanager
def full_disk() -> Iterator[None]:
    """Refuse writes beyond the first bytes of any file, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
