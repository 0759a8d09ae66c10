"""The time from which the newest executions of a search are counted, the same for each status.

Pure, and the same for every adapter: an adapter counts the newest of each status, and counts again
from the time on that ``common_window`` finds, if some were left out.

Used by `stores/memory`, `stores/postgres` and `stores/sqlite`.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from rillflow.ports.storage.execution_search import NewestCount, Wanted


class PartCount(NamedTuple):
    """The newest executions of a part of a search: their number, and when the oldest began.

    ``oldest_ms`` is None where there are none.
    """

    status: str
    number: int
    oldest_ms: int | None


def share_of(most: int, statuses: Iterable[str]) -> int:
    """Return how many of each part are counted; ``statuses`` are those of the parts.

    The parts of one status are workflows of a workspace, which share what is counted of it.
    """
    parts = Counter(statuses)
    return max(1, most // max(parts.values(), default=1))


def common_window(found: Sequence[PartCount], wanted: Wanted, most: int) -> Wanted:
    """Return the search from the time on since which no status has more than were counted."""
    cut = [each.oldest_ms for each in found if each.number >= most and each.oldest_ms is not None]
    return msgspec.structs.replace(wanted, from_ms=max(cut)) if cut else wanted


def needs_recount(found: Sequence[PartCount], window: Wanted, wanted: Wanted) -> bool:
    """Tell whether a part may have more than are in the window; those of a lone one are it."""
    return window != wanted and sum(each.number > 0 for each in found) > 1


def newest_count(found: Sequence[PartCount], window: Wanted, wanted: Wanted) -> NewestCount:
    """Return the counts from a time on; ``wanted`` is what was asked for."""
    counts: dict[str, int] = {}
    for each in found:
        if each.number:
            counts[each.status] = counts.get(each.status, 0) + each.number
    times = (each.oldest_ms for each in found if each.oldest_ms is not None)
    oldest_ms = min(times, default=None)
    return NewestCount(counts, window.from_ms, is_whole=window == wanted, oldest_ms=oldest_ms)
