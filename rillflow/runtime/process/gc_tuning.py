"""The garbage collector's thresholds for processes with many small, long-lived objects.

Used by `actors/dispatcher_actor.py`, `actors/execution_actor.py` and `serve/api.py`.
"""

import gc
import time
from collections.abc import Callable
from typing import Final

YOUNG_OBJECTS: Final = 50_000
"""How many new containers trigger a collection of the youngest generation."""
THRESHOLDS: Final = YOUNG_OBJECTS, 0, 280
"""Of the generations. Every second collection is of the middle one, together with the youngest: it
passes over what the one before it left, and over what is new.

With Python's ten, or our earlier twenty, that is a million objects where wide executions are made,
and 0.2 s in which nothing else runs. With three it is 200,000, where large plans are made in a
thread too, whose collections hold the event loop as well. Each object is passed over once or twice,
however often it is collected. The oldest is collected as seldom as with twenty and twenty.
"""

LONG_S: Final = 0.05
"""A collection of the oldest generation that takes longer is noticed by everybody."""
REST: Final = 1_000
"""How many times as long as it took there is no other one then."""
_WITHOUT_OLDEST: Final = *THRESHOLDS[:2], 1 << 30


class PauseOfCollections:
    """Puts off the next collection of the oldest generation after one that took long.

    Nothing else runs in the process meanwhile, in no thread. A few executions with large outputs
    are ten million lists, over which each passes for a second, and what is read again and again
    brings the next one on. What references free, which is nearly everything, is freed as before.
    """

    def __init__(
        self,
        clock_s: Callable[[], float] = time.monotonic,
        cpu_s: Callable[[], float] = time.thread_time,
    ) -> None:
        """Measure pauses by ``clock_s``, and collections by ``cpu_s`` of their thread."""
        self._clock_s = clock_s
        self._cpu_s = cpu_s
        self._began_s = 0.0
        self._due_s: float | None = None

    def note(self, phase: str, info: dict[str, int]) -> None:
        """Note the begin and the end of a collection; see ``gc.callbacks``."""
        if info["generation"] == len(THRESHOLDS) - 1:
            if phase == "start":
                self._began_s = self._cpu_s()
            else:
                self._ended(self._cpu_s() - self._began_s)
        elif self._due_s is not None and self._clock_s() >= self._due_s:
            self._due_s = None
            gc.set_threshold(*THRESHOLDS)

    def _ended(self, took_s: float) -> None:
        if took_s > LONG_S:
            self._due_s = self._clock_s() + REST * took_s
            gc.set_threshold(*_WITHOUT_OLDEST)


def tune_gc() -> None:
    """Collect less often, and exclude the objects of the start for good.

    Nearly all objects of an execution are freed by reference counting. With Python's defaults the
    collector visits them again and again, which took a tenth of the time of every process.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    gc.callbacks.append(PauseOfCollections().note)
