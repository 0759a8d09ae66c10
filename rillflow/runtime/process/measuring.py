"""What every process measures of itself, for the metrics.

Used by `actors` and `serve`.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rillflow.ports.loops import LoopState
from rillflow.telemetry import metrics
from rillflow.telemetry.meters import Meters

_STATM: Final = Path("/proc/self/statm")


def read_process(meters: Meters, loop: Callable[[], LoopState]) -> None:
    """Have processor time, memory and the turns of the event loop read with the metrics."""
    meters.read(metrics.CPU, lambda: {(): time.process_time()})
    meters.read(metrics.LONGEST_TURN, lambda: {(): loop().longest_of_minute_ms / 1000})
    meters.read(metrics.SLOW_TURNS, lambda: {(): loop().slow_turns})
    meters.read(metrics.RESIDENT, lambda: {(): resident_bytes()} if _STATM.exists() else {})


def resident_bytes() -> int:
    """Return the bytes of this process in RAM; on Linux only."""
    pages = int(_STATM.read_bytes().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
