"""What the triggers of a process count, and the spans of what they start.

Used by `runtime/triggers/runner.py` and `runtime/triggers/sources/runner.py`.
"""

from rillflow.ids import ExecutionId
from rillflow.ports.triggers import TriggerRow
from rillflow.runtime.triggers.tracing import TriggerSpans
from rillflow.telemetry import metrics
from rillflow.telemetry.meters import Meters


class TriggerMeters:
    """The meters of triggers, in those of their process."""

    def __init__(self, meters: Meters, spans: TriggerSpans | None = None) -> None:
        self._spans = spans
        self._events = meters.counter(metrics.TRIGGER_EVENTS)
        self._lateness = meters.histogram(metrics.TRIGGER_LATENESS)

    def count(self, kind: str, outcome: str) -> None:
        """Count a time or event of a trigger of a type."""
        self._events.add((kind, outcome))

    def started(  # noqa: PLR0913, PLR0917 - what a span is made of
        self,
        row: TriggerRow,
        key: str,
        execution_id: ExecutionId,
        due_ms: int,
        at_ms: int,
        traceparent: str | None = None,
    ) -> None:
        """Count an execution that a time or event has started, and tell its span."""
        self.count(row.type, "started")
        if self._spans is not None:
            self._spans.started(row, key, execution_id, due_ms, at_ms, traceparent)

    def late(self, late_ms: int) -> None:
        """Note how late a time of a cron trigger was."""
        self._lateness.observe(max(late_ms, 0) / 1000)
