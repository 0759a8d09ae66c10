"""The clock port. The pure layers get times inside events instead.

Used by `gateways`, `runtime` and `serve`.
"""

from typing import Protocol


class Clock(Protocol):
    """Wall time for records and monotonic time for waiting."""

    def now_ms(self) -> int:
        """Return milliseconds since the epoch."""
        ...

    def monotonic_s(self) -> float:
        """Return seconds that never go back, from an arbitrary start."""
        ...
