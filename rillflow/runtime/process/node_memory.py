"""The share of this machine's memory in use (spec 6.1)."""

from pathlib import Path
from typing import Final

from rillflow.ports.clock import Clock

FRESH_S: Final = 30.0
MEMINFO: Final = Path("/proc/meminfo")


class NodeMemory:
    """The share of memory in use, read again when it is older than 30 s."""

    def __init__(self, clock: Clock, source: Path = MEMINFO) -> None:
        self._clock = clock
        self._source = source
        self._read_s: float | None = None
        self._percent = 0

    def used_percent(self) -> int:
        """Return whole percents; 0 if the system does not tell."""
        now_s = self._clock.monotonic_s()
        if self._read_s is None or now_s - self._read_s > FRESH_S:
            self._read_s, self._percent = now_s, _used_percent(self._source)
        return self._percent


def _used_percent(source: Path) -> int:
    try:
        lines = (line.split() for line in source.read_text(encoding="ascii").splitlines())
        sizes = {words[0]: int(words[1]) for words in lines if len(words) > 1}
        return 100 - 100 * sizes["MemAvailable:"] // sizes["MemTotal:"]
    except (OSError, ValueError, KeyError, ZeroDivisionError):
        return 0
