"""The garbage collector's thresholds for processes with many small, long-lived objects.

Used by `actors/dispatcher_actor.py`, `actors/execution_actor.py` and `serve/api.py`.
"""

import gc
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


def tune_gc() -> None:
    """Collect less often, and exclude the objects of the start for good.

    Nearly all objects of an execution are freed by reference counting. With Python's defaults the
    collector visits them again and again, which took a tenth of the time of every process.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
