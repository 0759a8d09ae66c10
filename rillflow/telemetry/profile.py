"""The profile: how often executions, tasks and calls took how long, as log events (spec 7.3).

A process that has one tells it every ten seconds, as long as there is something to tell: an event
``profile`` for each key.

Used by `actors`, `runtime` and `telemetry`.
"""

import logging
import time
from bisect import bisect_left
from collections.abc import Callable
from typing import Final

log = logging.getLogger("rillflow.profile")

ENGINE: Final = "dag"
COMPLETE: Final = "dag_complete"
CALLS_WELL: Final = "dag_http_2xx"
CALLS_ILL: Final = "dag_http_4xx_5xx"
EVERY_S: Final = 10.0
SLOW_MS: Final = 200
BOUNDS_MS: Final = (50, SLOW_MS, 500, 1_000)
MOST_KEYS: Final = 1_000
OTHER: Final = "other"


class Profile:
    """What one process has measured since it told of it last."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        """Measure from now on."""
        self._now_s = now_s
        self._began_s = now_s()
        self._keys: dict[tuple[str, str], list[float]] = {}

    def note(self, kind: str, name: str, taken_s: float) -> None:
        """Note that something of a kind took so long; names beyond a number are one."""
        if self._now_s() - self._began_s >= EVERY_S:
            self._tell()
        numbers = self._keys.get((kind, name))
        if numbers is None:
            key = (kind, name if len(self._keys) < MOST_KEYS else OTHER)
            numbers = self._keys.setdefault(key, [0.0] * (len(BOUNDS_MS) + 2))
        taken_ms = taken_s * 1000
        numbers[bisect_left(BOUNDS_MS, taken_ms)] += 1
        numbers[-1] += taken_ms

    def _tell(self) -> None:
        self._began_s = self._now_s()
        keys, self._keys = self._keys, {}
        for (kind, name), (*intervals, sum_ms) in keys.items():
            total = int(sum(intervals))
            facts = {
                "type": kind,
                "name": name,
                "slowThreshold": SLOW_MS,
                "total_count": total,
                "slow_count": int(sum(intervals[BOUNDS_MS.index(SLOW_MS) + 1 :])),
                "avg_time": round(sum_ms / total, 3),
                **{f"interval{number}": int(each) for number, each in enumerate(intervals, 1)},
            }
            log.info("profile", extra={"profile": facts})


def profile_of(*, is_told: bool) -> Profile | None:
    """Return a profile whose events are written, though they are no warnings; None if it is not."""
    if not is_told:
        return None
    log.setLevel(logging.INFO)
    last = logging.lastResort
    if last is not None and not logging.root.handlers and not log.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(last.formatter)
        log.addHandler(handler)
    return Profile()
