"""How fast this machine computes at this moment, as a part of the speed that limits were set at.

Limits in milliseconds hold for some machine. On a slower one, or one whose cores others use at
the same moment (who share a core's caches and its second thread make processor time longer, too),
the same computation takes longer, and so does a fixed one that is measured beside it.

What seems too long is measured again, for longer than others disturb it without a pause, and the
least counts. What is never short enough does not become so by being measured more often.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count, islice
from typing import Final

REFERENCE_MS: Final = 7.0
"""What ``_fixed_work`` took on the machine on which the limits were set, with nothing beside it."""
PATIENCE_S: Final = 3.0
"""For so long, in processor time, something is measured again before it counts as too long."""
LEAST_TRIES: Final = 3
LONG_WORKS: Final = 60
"""So many fixed works take longer than a process may compute while others wait for its core."""
_TEXT: Final = json.dumps({f"k{n:x}": [n, f"text {n}", {"a": n * 1.5}] for n in range(20_000)})


def slowness() -> float:
    """Return how many times as long as on the reference machine things take now; at least 1."""
    return max(1.0, min(_fixed_work_ms() for _ in range(2)) / REFERENCE_MS)


def slowness_by_clock() -> float:
    """Return the same by the clock on the wall, for what takes long.

    Besides what ``slowness`` tells, it tells of the cores that others use: the work takes so long
    that it waits for them as other long work does.
    """
    begun_s = time.perf_counter()
    for _ in range(LONG_WORKS):
        _fixed_work_ms()
    return max(1.0, (time.perf_counter() - begun_s) * 1000 / (LONG_WORKS * REFERENCE_MS))


def tries() -> Iterator[None]:
    """Yield as often as something that seems too long may be measured; leave once it is not."""
    give_up_s = time.process_time() + PATIENCE_S
    for done in count():
        if done >= LEAST_TRIES and time.process_time() > give_up_s:
            return
        yield


def least(measure: Callable[[], float], limit: float, *, most_tries: int | None = None) -> float:
    """Return the least of what is measured, in time of the reference machine.

    It is measured again while it is not below the limit, see ``tries``; but no more often than
    ``most_tries``, for what spends the time of other processes and not of this one.
    """
    best = float("inf")
    for _ in islice(tries(), most_tries):
        measured = measure()
        best = min(best, measured if measured < limit else measured / slowness())
        if best < limit:
            break
    return best


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
