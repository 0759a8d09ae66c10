"""The garbage collector's thresholds for processes with many small, long-lived objects.

Used by `actors/dispatcher_actor.py`, `actors/execution_actor.py` and `serve/api.py`.
"""

import gc
from typing import Final

YOUNG_OBJECTS: Final = 50_000
"""How many new containers trigger a collection of the youngest generation."""


def tune_gc() -> None:
    """Collect less often, and exclude the objects of the start for good.

    Nearly all objects of an execution are freed by reference counting. With Python's defaults the
    collector visits them again and again, which took a tenth of the time of every process.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 20)
