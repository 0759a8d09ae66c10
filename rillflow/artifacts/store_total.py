"""The limit of all contents of a store of artifacts.

Used by `artifacts/store.py`.
"""

import errno
import math
import threading
import time
from collections.abc import Callable
from typing import Any, Final

FRESH_S: Final = 10.0
"""How old the bytes of the whole store may be, for their limit."""
LONGEST_FRESH_S: Final = 300.0
COUNTING_SHARE: Final = 20
"""They may be as old as it takes to count them, so many times, where that is longer."""


class StoreTotal:
    """Counts the contents of a store now and then, and what this process stores meanwhile."""

    def __init__(self, most_bytes: int | None) -> None:
        """Set a limit; None is none."""
        self.most_bytes = most_bytes
        self._counting = threading.Lock()
        self._held_bytes = 0
        self._until_s = -math.inf

    def require(self, size_bytes: int, count: Callable[[], int]) -> None:
        """Refuse contents for which there is no room.

        Raises:
            OSError: Its number is ``EDQUOT``.
        """
        if not self.has_room(size_bytes, count):
            raise OSError(
                errno.EDQUOT,
                f"the store of artifacts is full: artifacts_total_bytes ({self.most_bytes}) is"
                " reached; artifacts go with the executions that use them",
            )

    def has_room(self, size_bytes: int, count: Callable[[], int]) -> bool:
        """Tell whether there is room, by what was counted a short while ago or is counted now."""
        if self.most_bytes is None:
            return True
        with self._counting:
            begun_s = time.monotonic()
            if begun_s > self._until_s:
                self._held_bytes = count()
                fresh_s = max(FRESH_S, COUNTING_SHARE * (time.monotonic() - begun_s))
                self._until_s = begun_s + min(fresh_s, LONGEST_FRESH_S)
            return self._held_bytes + size_bytes <= self.most_bytes

    def add(self, size_bytes: int) -> None:
        """Count contents that are stored."""
        with self._counting:
            self._held_bytes += size_bytes


def bytes_in(fs: Any, folder: str) -> int:
    """Return the bytes of the files in a folder; those that arrive just now have no place yet."""
    return sum(
        int(facts.get("size") or 0)
        for path, facts in fs.find(folder, detail=True).items()
        if not path.rpartition("/")[2].startswith(".")
    )
