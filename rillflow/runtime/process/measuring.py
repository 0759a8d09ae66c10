"""What every process measures of itself, for the metrics.

Used by `actors` and `serve`.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rillflow.ports.loops import LoopState
from rillflow.settings import Settings
from rillflow.telemetry import metrics
from rillflow.telemetry.meters import MeasuredTasks, Meters
from rillflow.telemetry.profile import profile_of

_STATM: Final = Path("/proc/self/statm")


def owner_meters(process: str, settings: Settings) -> Meters:
    """Return the meters of an owner of executions, which measure what is set."""
    tasks = MeasuredTasks(
        compliance=settings.switch("ENABLE_RECORD_COMPLIANCE_WHEN_TASK_FINISHED"),
        by_name=settings.switch("ENABLE_TENANT_TASK_FLOW_AGGREGATE"),
    )
    return Meters(process, profile=profile_of(is_told=settings.profile_log), tasks=tasks)


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
