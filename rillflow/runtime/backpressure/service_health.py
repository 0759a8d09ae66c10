"""The health of a service: its shares of completed and successful executions (spec 6.4).

Used by `runtime/backpressure/admission.py`, `serve/routes/batch_redo.py` and
`serve/routes/statistics.py`.
"""

import math
from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol

from rillflow.errors import RequestError
from rillflow.ports.storage.store import ExecutionFilter
from rillflow.setting_values import FlowHealth

MINUTE_MS: Final = 60_000

_RESOURCE_LIMIT: Final = 30201


class Figures(NamedTuple):
    """Counts of the executions of a window; rates are percents, cut to two decimals."""

    running: int
    succeeded: int
    failed: int

    @property
    def complete_rate(self) -> float:
        """The share that has ended; 100 without executions."""
        return _rate(self.succeeded + self.failed, self.running + self.succeeded + self.failed)

    @property
    def success_rate(self) -> float:
        """The share of the ended ones that succeeded; 100 without any."""
        return _rate(self.succeeded, self.succeeded + self.failed)


class ExecutionCounts(Protocol):
    """What counts executions: a store, or the searches of callers."""

    async def count_executions(self, wanted: ExecutionFilter) -> dict[str, int]:
        """Count executions by status."""
        ...


async def measure(
    counting: ExecutionCounts, business: str, feature: str | None, *, from_ms: int, to_ms: int
) -> Figures:
    """Count the executions submitted in a window, of a service or of a whole business."""
    counts = await counting.count_executions(
        ExecutionFilter(business=business, feature=feature, from_ms=from_ms, to_ms=to_ms)
    )
    return figures_of(counts)


def figures_of(counts: Mapping[str, int]) -> Figures:
    """Return the figures of executions that are counted by status."""
    ended = (counts.get("succeed", 0), counts.get("failed", 0))
    return Figures(sum(counts.values()) - sum(ended), *ended)


def check_health(figures: Figures, thresholds: FlowHealth) -> None:
    """Check figures against thresholds.

    Raises:
        RequestError: A threshold is crossed (30201).
    """
    complete, success, heap = thresholds.complete_rate, thresholds.success_rate, thresholds.heap
    if complete is not None and figures.complete_rate < complete:
        raise _limit(f"complete rate:{figures.complete_rate}% lower than config:{complete:g}%")
    if success is not None and figures.success_rate < success:
        raise _limit(f"success rate:{figures.success_rate}% lower than config:{success:g}%")
    if heap is not None and figures.running > heap:
        raise _limit(f"heap count:{figures.running} higher than config:{heap}")


def _limit(message: str) -> RequestError:
    return RequestError(message, wire_code=_RESOURCE_LIMIT)


def _rate(part: int, whole: int) -> float:
    return math.floor(10_000 * part / whole) / 100 if whole else 100.0
