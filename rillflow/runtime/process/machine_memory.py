"""How much memory this machine has, or its container or service may take.

Used by `actors/directory.py`, `runtime/owner` and `runtime/routing`.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PART_OF_MEMORY: Final = 4
"""Processes of dedicated executions may take one part of so many of it, and their data another."""


def memory_bytes(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return the least of the limits of this process; None where none can be read."""
    return min((*_of_machine(proc), *_of_groups(proc, cgroups)), default=None)


def _of_machine(proc: Path) -> Iterator[int]:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in (proc / "meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemTotal:"):
                yield int(line.split()[1]) * 1024


def _of_groups(proc: Path, cgroups: Path) -> Iterator[int]:
    """Yield the limits of the control groups that hold this process, of both versions.

    A container often sees its own group as the root, whatever its path is outside.
    """
    paths = {"memory.max": "/", "memory/memory.limit_in_bytes": "/"}
    with contextlib.suppress(OSError, ValueError):
        for line in (proc / "self" / "cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                paths["memory.max"] = path
            elif "memory" in controllers.split(","):
                paths["memory/memory.limit_in_bytes"] = path
    for name, path in paths.items():
        root, file = (cgroups / name).parent, Path(name).name
        own = root / path.strip("/")
        for folder in (own, *own.parents):
            if folder.is_relative_to(root):
                with contextlib.suppress(OSError, ValueError):  # "max" is no limit
                    yield int((folder / file).read_text(encoding="ascii"))
