"""The spans of triggers: from when a time or an event was due until its execution was on disk.

Each has a trace of its own, to which the execution's is linked. It is made where a trigger fires,
so it is lost if that process ends before it is exported; the execution's own spans are not.

Used by `runtime/triggers`.
"""

from rillflow.ids import ExecutionId
from rillflow.ports.triggers import TriggerRow
from rillflow.runtime.submission.tracing import TraceSampling
from rillflow.telemetry.span_queue import SpanQueue
from rillflow.telemetry.spans import TRIGGER, Span
from rillflow.telemetry.trace_context import TraceParent, root_id, span_id_of, trace_id_of


class TriggerSpans:
    """Hands over the spans of triggers whose executions are sampled."""

    def __init__(self, queue: SpanQueue, sampling: TraceSampling) -> None:
        """Hand them over to a queue."""
        self._queue = queue
        self._sampling = sampling

    def started(  # noqa: PLR0913, PLR0917 - what a span is made of
        self,
        row: TriggerRow,
        key: str,
        execution_id: ExecutionId,
        due_ms: int,
        at_ms: int,
        traceparent: str | None = None,
    ) -> None:
        """Tell of an execution that was started, with the key of its time or event."""
        start = self._sampling.start_of(execution_id, traceparent)
        if start is None or not start.is_sampled:
            return
        place = span_of(key)
        span = Span(
            span_id=place.span_id,
            parent_id="",
            kind=TRIGGER,
            name=f"trigger {row.id}",
            start_ms=due_ms,
            end_ms=max(at_ms, due_ms),
            status="succeeded",
            facts={
                "rillflow.trigger": row.id,
                "rillflow.trigger_type": row.type,
                "rillflow.execution_id": execution_id,
            },
            links=(TraceParent(start.trace_id, root_id(execution_id, 1), is_sampled=True),),
        )
        self._queue.put(place.trace_id, [span])


def span_of(key: str) -> TraceParent:
    """Return the span of a time or event of a trigger, by its idempotency key."""
    return TraceParent(trace_id_of(key), span_id_of("trigger", key), is_sampled=True)
