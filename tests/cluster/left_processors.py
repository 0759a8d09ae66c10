"""Which part of this machine's processors other programs leave to a test and its processes.

A bound in seconds holds where they leave everything. Where they leave a half, the same work takes
twice as long: a measured time counts multiplied by the part that they leave.

Used by `tests/bench/node_death.py` and `tests/cluster/test_node_death.py`.
"""

import os
from pathlib import Path
from typing import Final

from tests.bench.stacks import cpu_s
from tests.cluster.processes import descendants

LEAST: Final = 0.1
"""So little counts at least: what takes ten times as long as it may is too slow anywhere."""


class LeftProcessors:
    """Measures from when it is made until it is asked.

    ``roots`` are processes beside this one that belong to the test, with all below them.
    """

    def __init__(self, *roots: int) -> None:
        self._roots = (os.getpid(), *roots)
        self._total_s, self._busy_s = _machine_s()
        self._own = self._spent()

    def part(self) -> float:
        """Return the part that others have left since, 1 where they did nothing."""
        total_s, busy_s = _machine_s()
        total_s, busy_s = total_s - self._total_s, busy_s - self._busy_s
        own_s = sum(spent_s - self._own.get(pid, 0.0) for pid, spent_s in self._spent().items())
        if total_s <= 0:
            return 1.0
        return min(1.0, max(LEAST, 1 - (busy_s - own_s) / total_s))

    def _spent(self) -> dict[int, float]:
        pids = [pid for root in self._roots for pid in (root, *descendants(root))]
        return {pid: cpu_s(pid) for pid in pids}


def _machine_s() -> tuple[float, float]:
    """Return the time of all processors since the start of the machine, and how much was busy."""
    ticks = [int(each) for each in Path("/proc/stat").read_text(encoding="ascii").split()[1:9]]
    idle = ticks[3] + ticks[4]
    per_s = os.sysconf("SC_CLK_TCK")
    return sum(ticks) / per_s, (sum(ticks) - idle) / per_s
