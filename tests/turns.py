"""How long each turn of this thread's event loop computes, measured exactly.

A turn is what the loop does between two looks at its sockets. It is measured in processor time
of the thread, since other work on the machine makes turns longer in any other clock.
"""

import asyncio
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from rillflow.runtime.process.gc_tuning import THRESHOLDS

LONGEST_MS: Final = 50.0


class Turns:
    """The longest turn so far, in milliseconds."""

    def __init__(self) -> None:
        self.longest_ms = 0.0
        self._begun_s = time.thread_time()

    def begin(self) -> None:
        self._begun_s = time.thread_time()

    def end(self) -> None:
        self.longest_ms = max(self.longest_ms, (time.thread_time() - self._begun_s) * 1000)

    def take(self) -> float:
        """Return the longest turn since the last time this was asked."""
        longest_ms, self.longest_ms = self.longest_ms, 0.0
        return longest_ms


@contextmanager
def measured_turns() -> Iterator[Turns]:
    """Measure the turns of the running loop, with Python's collector set as in our processes."""
    loop: Any = asyncio.get_running_loop()
    selector, turns = loop._selector, Turns()
    look = selector.select

    def select(timeout: float | None = None) -> Any:
        turns.end()
        try:
            return look(timeout)
        finally:
            turns.begin()

    threshold = gc.get_threshold()
    gc.collect()  # what there is now is old then, and is not gone through again at once
    gc.set_threshold(*THRESHOLDS)
    selector.select = select
    turns.begin()  # after the look for garbage
    try:
        yield turns
    finally:
        selector.select = look
        gc.set_threshold(*threshold)
