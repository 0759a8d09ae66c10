"""What SQLite would leave out of a ``-wal`` file without a word, since a part of it is damaged.

SQLite reads the commits of this file up to the first page that is not as it was written, and takes
that for the commit which the end of a process or machine has cut off. Each commit is on disk before
the next is written, so only the last one can be cut off: where several follow a damaged page, they
were acknowledged, and the file was damaged later, or copied badly. A file that was cut cannot be
told from one that was just so long.

Used by `stores/sqlite/file_use.py`.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

_HEAD: Final = struct.Struct(">8I")
_FRAME: Final = struct.Struct(">6I")
_MAGIC: Final = (0x377F0682, 0x377F0683)
_WORD: Final = 0xFFFFFFFF
_LARGEST_PAGE: Final = 65_536
_SMALLEST_PAGE: Final = 512
_LOST: Final = 2
"""So many commits behind a damaged page are more than the one that may have been cut off."""


class _Frame(NamedTuple):
    """A page in the file: whether it ends a commit, to which log it belongs, its checksum."""

    ends_commit: bool
    salt: tuple[int, int]
    checksum: tuple[int, int]
    head: bytes
    page: bytes


def lost_commits(wal: Path, page_bytes: int) -> int:
    """Return how many commits follow a damaged page; 0 where that may be the last one, cut off.

    Args:
        wal: The file; it must be in nobody's use.
        page_bytes: The size of the pages of the database.

    Raises:
        OSError: The file cannot be read.
    """
    with wal.open("rb") as file:
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size:
            return 0
        magic, _, size, _, *salt, first, second = _HEAD.unpack(head)
        order = ">" if magic & 1 else "<"
        checksum = _checksum(head[:24], order, (0, 0))
        is_valid = magic in _MAGIC and size == page_bytes and checksum == (first, second)
        frames = _frames(file, page_bytes)
        if is_valid:
            frames = _after_damage(frames, (salt[0], salt[1]), order, checksum)
        commits = _commits(frames, (salt[0], salt[1]) if is_valid else None)
    return commits if commits >= _LOST else 0


def _after_damage(
    frames: Iterator[_Frame], salt: tuple[int, int], order: str, checksum: tuple[int, int]
) -> Iterator[_Frame]:
    """Pass over the frames up to the first that SQLite does not read."""
    for frame in frames:
        checksum = _checksum(frame.head + frame.page, order, checksum)
        if frame.salt != salt or frame.checksum != checksum:
            break
    return frames


def _commits(frames: Iterator[_Frame], salt: tuple[int, int] | None) -> int:
    """Count the ends of commits of one log: that of the first frame, if none is given."""
    count = 0
    for frame in frames:
        if salt is None:
            salt = frame.salt
        count += frame.ends_commit and frame.salt == salt
    return count


def _frames(file: BinaryIO, page_bytes: int) -> Iterator[_Frame]:
    if not _SMALLEST_PAGE <= page_bytes <= _LARGEST_PAGE:
        return
    while len(data := file.read(_FRAME.size + page_bytes)) == _FRAME.size + page_bytes:
        _, size, one, other, first, second = _FRAME.unpack_from(data)
        head, page = data[:8], data[_FRAME.size :]
        yield _Frame(size != 0, (one, other), (first, second), head, page)


def _checksum(data: bytes, order: str, before: tuple[int, int]) -> tuple[int, int]:
    first, second = before
    words = iter(struct.unpack(f"{order}{len(data) // 4}I", data))
    for one, other in zip(words, words, strict=True):
        first = (first + one + second) & _WORD
        second = (second + other + first) & _WORD
    return first, second
