"""What the triggers of a process count.

Used by `runtime/triggers/runner.py` and `runtime/triggers/source_runner.py`.
"""

from rillflow.telemetry import metrics
from rillflow.telemetry.meters import Meters


class TriggerMeters:
    """The meters of triggers, in those of their process."""

    def __init__(self, meters: Meters) -> None:
        self._events = meters.counter(metrics.TRIGGER_EVENTS)
        self._lateness = meters.histogram(metrics.TRIGGER_LATENESS)

    def count(self, kind: str, outcome: str) -> None:
        """Count a time or event of a trigger of a type."""
        self._events.add((kind, outcome))

    def late(self, late_ms: int) -> None:
        """Note how late a time of a cron trigger was."""
        self._lateness.observe(max(late_ms, 0) / 1000)
