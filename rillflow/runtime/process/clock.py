"""The clock of the machine, an adapter of the port ``Clock``; tests and the simulation have others.

Used by `actors`, `cli` and `runtime/stack.py`.
"""

import time

from rillflow.ports.clock import Clock


class SystemClock:
    """Wall time and monotonic time of the operating system."""

    def now_ms(self) -> int:
        """Return milliseconds since the epoch."""
        return time.time_ns() // 1_000_000

    monotonic_s = staticmethod(time.monotonic)
    """Return seconds that never go back, from an arbitrary start; each event asks several times."""


def wall_offset_s(clock: Clock) -> float:
    """Return what the wall clock shows when monotonic time is 0, in seconds since the epoch."""
    return clock.now_ms() / 1000 - clock.monotonic_s()
