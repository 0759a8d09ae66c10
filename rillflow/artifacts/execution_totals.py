"""How many artifacts executions have, and their bytes, as this process knows it.

The store has only names, in a folder for each execution, and other processes add to it. So what was
read there is used for a while, with what this process has added since.

Used by `artifacts/store.py` and `runtime/artifacts.py`.
"""

import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from cachetools import FIFOCache

MOST_KNOWN: Final = 4_096
EACH_S: Final = 0.001
"""A total is used for so long for each artifact in it: for 10,000 that is ten seconds."""


class ExecutionTotal(NamedTuple):
    """How many artifacts an execution has, and their bytes."""

    number: int
    size_bytes: int


class ExecutionTotals:
    """The totals of the executions that this process has read last; threads may share them."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        """Know nothing yet; ``clock_s`` tells how old a total is."""
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._known = FIFOCache[str, tuple[ExecutionTotal, float]](MOST_KNOWN)

    def fresh(self, execution: str, age_s: float = 0.0) -> ExecutionTotal | None:
        """Return a total that is no older than ``age_s``, or than its count allows."""
        with self._lock:
            known = self._known.get(execution)
        if known is None:
            return None
        total, read_s = known
        is_fresh = self._clock_s() - read_s < max(age_s, EACH_S * total.number)
        return total if is_fresh else None

    def last(self, execution: str) -> ExecutionTotal | None:
        """Return a total however old it is."""
        with self._lock:
            known = self._known.get(execution)
        return None if known is None else known[0]

    def keep(self, execution: str, total: ExecutionTotal) -> None:
        """Keep a total that was read just now."""
        with self._lock:
            self._known[execution] = total, self._clock_s()

    def add(self, execution: str, size_bytes: int) -> None:
        """Count an artifact that this process has marked for an execution."""
        with self._lock:
            known = self._known.get(execution)
            if known is not None:
                (number, total_bytes), read_s = known
                added = ExecutionTotal(number + 1, total_bytes + size_bytes)
                self._known[execution] = added, read_s

    def forget(self, execution: str) -> None:
        """Forget an execution that has lost or inherited artifacts."""
        with self._lock:
            self._known.pop(execution, None)
