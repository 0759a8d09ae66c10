"""Bounds what the logs of a stack take that runs for months.

Ray keeps the files of workers that have ended, as of each dedicated execution, and lets those of
the others grow. Its rotation (``RAY_ROTATION_MAX_BYTES``) puts a pipe before the files, after which
nobody can tell which part of a file a Ray function has printed. So the beginning of a long file is
given back to the disk instead: places in the file stay what they are, and zeros are read there.

Used by `serve/stack/local_ray.py`.
"""

import ctypes
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

LOOK_S: Final = 30.0
"""How often it is done."""
MOST_ENDED: Final = 1_000
"""Workers that have ended whose files are kept."""
MOST_ENDED_BYTES: Final = 256 << 20
"""What these files take together."""
MOST_BYTES: Final = 64 << 20
"""What a file takes; of a longer one the second half of this is kept."""
SERVE: Final = "serve"
"""The folder in it for the logs of Ray Serve."""

_FILE: Final = re.compile(
    r"(?:worker-[0-9a-f]+-[0-9a-f]+-|python-core-worker-[0-9a-f]+_)(\d+)\.[a-z0-9.]+"
)
_BLOCK: Final = 512
"""The unit in which a file tells what it takes."""
_PAGE: Final = 4096
_PUNCH_HOLE: Final = 3
"""To give a part of a file back and leave its size, for ``fallocate``."""
_fallocate: Final = getattr(ctypes.CDLL(None), "fallocate", None)


def _runs(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def bound_logs(
    folder: Path,
    *,
    most_ended: int = MOST_ENDED,
    most_ended_bytes: int = MOST_ENDED_BYTES,
    most_bytes: int = MOST_BYTES,
    runs: Callable[[int], bool] = _runs,
) -> None:
    """Bound the files in a folder of logs, and in that of Serve below it.

    Args:
        folder: Where Ray writes them.
        most_ended: Of so many workers that have ended the files stay, the latest ones.
        most_ended_bytes: What these files may take together.
        most_bytes: What each file may take.
        runs: Whether a process runs.
    """
    there = [*_files_in(folder), *_files_in(folder / SERVE)]
    for path, found in there:
        if found.st_blocks * _BLOCK > most_bytes:
            _shorten(path, found.st_size - most_bytes // 2)
    workers: defaultdict[int, list[tuple[Path, os.stat_result]]] = defaultdict(list)
    for path, found in there:
        name = _FILE.fullmatch(path.name)
        if name is not None:
            workers[int(name[1])].append((path, found))
    ended = [files for pid, files in workers.items() if not runs(pid)]
    ended.sort(key=lambda files: max(found.st_mtime_ns for _, found in files), reverse=True)
    room = most_ended_bytes
    for at, files in enumerate(ended):
        room -= sum(found.st_blocks * _BLOCK for _, found in files)
        if at >= most_ended or room < 0:
            for path, _ in files:
                with suppress(OSError):
                    path.unlink()


def _files_in(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                if entry.is_file(follow_symlinks=False):
                    yield Path(entry.path), entry.stat(follow_symlinks=False)


def _shorten(path: Path, size: int) -> None:
    """Give the beginning of a file back, if its file system can."""
    if _fallocate is None:
        return
    with suppress(OSError):
        file = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
        try:
            whole = size // _PAGE * _PAGE
            _fallocate(file, _PUNCH_HOLE, ctypes.c_long(0), ctypes.c_long(whole))
        finally:
            os.close(file)
