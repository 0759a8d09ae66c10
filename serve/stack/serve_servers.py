"""The processes of Ray Serve that this process has started, by the names that Ray gives them.

Used by `serve/stack/local_ray.py`.
"""

import os
import time
from pathlib import Path
from typing import Final

NAMES: Final = ("ray::ServeReplica", "ray::ProxyActor", "ray::HAProxyManager")
"""HAProxy asks the first whether they are well, and else the second, by a new connection each time;
the third tells it whom to ask."""
LOOK_S: Final = 5.0
_SHOWN: Final = 15
"""The kernel keeps so many characters of a name."""
_NAMES_SHOWN: Final = {name[:_SHOWN] for name in NAMES}
_PROCESSES: Final = Path("/proc")


class ServeServers:
    """Lists the processes of Serve among the descendants of one, by default of this; at times.

    Args:
        ancestor: Its id.
    """

    def __init__(self, ancestor: int | None = None) -> None:
        self._ancestor = os.getpid() if ancestor is None else ancestor
        self._found: list[int] = []
        self._looks_at_s = 0.0

    def __call__(self) -> list[int]:
        """Return their ids as of some seconds ago."""
        now_s = time.monotonic()
        if now_s >= self._looks_at_s:
            self._looks_at_s = now_s + LOOK_S
            self._found = self._look()
        return self._found

    def _look(self) -> list[int]:
        parents, named = {}, []
        for process in map(int, filter(str.isdecimal, os.listdir(_PROCESSES))):  # noqa: PTH208 - there may be thousands
            try:
                name, parents[process] = _name_and_parent(process)
            except OSError:  # it has ended
                continue
            if name in _NAMES_SHOWN:
                named.append(process)
        return [each for each in named if self._is_below(each, parents)]

    def _is_below(self, process: int, parents: dict[int, int]) -> bool:
        while process and process != self._ancestor:
            process = parents.get(process, 0)
        return bool(process)


def _name_and_parent(process: int) -> tuple[str, int]:
    """Return what the kernel calls a process, and the id of its parent.

    Raises:
        OSError: It has ended.
    """
    text = (_PROCESSES / str(process) / "stat").read_text("utf-8", errors="replace")
    name, _, after = text.partition("(")[2].rpartition(")")
    return name, int(after.split(maxsplit=2)[1])
