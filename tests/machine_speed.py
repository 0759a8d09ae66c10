"""How fast this machine computes at this moment, as a part of the speed that limits were set at.

Limits in milliseconds hold for some machine. On a slower one, or one whose cores others use at
the same moment (who share a core's caches and its second thread make processor time longer, too),
the same computation takes longer, and so does a fixed one that is measured beside it.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

REFERENCE_MS: Final = 7.0
"""What ``_fixed_work`` took on the machine on which the limits were set, with nothing beside it."""
_TEXT: Final = json.dumps({f"k{n:x}": [n, f"text {n}", {"a": n * 1.5}] for n in range(20_000)})


def slowness() -> float:
    """Return how many times as long as on the reference machine things take now; at least 1."""
    return max(1.0, min(_fixed_work_ms() for _ in range(2)) / REFERENCE_MS)


@contextmanager
def processor_time(limit_s: float, clock: Callable[[], float] = time.thread_time) -> Iterator[None]:
    """Check that what is done inside takes less processor time than on the reference machine.

    Args:
        limit_s: The most that it takes there.
        clock: Counts that of this thread; ``time.process_time`` counts all threads.
    """
    begun_s = clock()
    yield
    spent_s = clock() - begun_s
    assert spent_s < limit_s or spent_s < limit_s * slowness(), f"{spent_s:.2f} s"


def _fixed_work_ms() -> float:
    begun_s = time.thread_time()
    decoded = json.loads(_TEXT)
    sum(len(key) + item[0] for key, item in decoded.items())
    return (time.thread_time() - begun_s) * 1000
