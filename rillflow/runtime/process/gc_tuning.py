"""How often a process of many small, long-lived objects looks for garbage cycles."""

import gc
from typing import Final

YOUNG_OBJECTS: Final = 50_000
"""How many more containers than before there are when the youngest are looked through."""


def tune_gc() -> None:
    """Look for cycles less often, and never again at what the start has made.

    Nearly all objects of an execution die by reference counting. With Python's defaults the
    collector walks them over and over, which took a tenth of the time of every process.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 20)
