"""The time from which the executions of a version are counted, the same for each status.

Pure, and the same for every adapter: an adapter counts the newest of each status, and counts again
from the time on that ``common_window`` finds, if some were left out.

Used by `stores/memory`, `stores/postgres` and `stores/sqlite`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from rillflow.ports.execution_search import VersionCount, Wanted


class PartCount(NamedTuple):
    """The newest executions of a status: their number, and when the oldest of them was submitted.

    ``oldest_ms`` is None where there are none.
    """

    status: str
    number: int
    oldest_ms: int | None


def common_window(found: Sequence[PartCount], wanted: Wanted, most: int) -> Wanted:
    """Return the search from the time on since which no status has more than were counted."""
    cut = [each.oldest_ms for each in found if each.number >= most and each.oldest_ms is not None]
    return msgspec.structs.replace(wanted, from_ms=max(cut)) if cut else wanted


def version_count(found: Sequence[PartCount], window: Wanted, wanted: Wanted) -> VersionCount:
    """Return the counts of a version from a time on; ``wanted`` is what was asked for."""
    counts = {each.status: each.number for each in found if each.number}
    return VersionCount(counts, window.from_ms, is_whole=window == wanted)
