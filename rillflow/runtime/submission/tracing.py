"""Which executions are traced, and in which trace: decided once, when they are submitted.

The decision is a part of the first event of the journal. So it is the same for all processes and
for the whole life of an execution, whatever becomes of the settings.

Used by `runtime/submission`.
"""

from collections.abc import Mapping
from typing import Final

from rillflow.ids import ExecutionId, workflow_of, workspace_of
from rillflow.settings import Settings
from rillflow.telemetry.trace_context import (
    TraceParent,
    TraceStart,
    parse_traceparent,
    trace_id_of,
)

_PART: Final = 16
"""Characters of a trace id that decide whether it is sampled."""
_ALL: Final = 1 << (4 * _PART)


class TraceSampling:
    """The shares of executions that are traced, by workflow."""

    def __init__(self, settings: Settings) -> None:
        self._rate = settings.trace_sampling
        self._rates: Mapping[str, float] = settings.trace_sampling_by_flow
        self.is_on = self._rate > 0 or any(rate > 0 for rate in self._rates.values())

    def start_of(
        self,
        execution_id: ExecutionId,
        traceparent: str | None,
        link: TraceParent | None = None,
    ) -> TraceStart | None:
        """Return the trace of a new execution; None if it has none.

        Of a submitter that sends a span, the execution goes on with the trace, and it is sampled
        if that span is. Otherwise the id of the execution decides. ``link`` is the span of the
        trigger that has started it.
        """
        rate = self._rate_of(execution_id)
        if rate <= 0:
            return None
        given = parse_traceparent(traceparent)
        if given is not None:
            return TraceStart(given.trace_id, given.span_id, given.is_sampled, link)
        trace_id = trace_id_of(execution_id)
        is_sampled = int(trace_id[-_PART:], 16) < rate * _ALL
        return TraceStart(trace_id, link=link) if is_sampled else None

    def _rate_of(self, execution_id: ExecutionId) -> float:
        if not self._rates:
            return self._rate
        workflow = workflow_of(execution_id)
        business = workspace_of(workflow)
        return self._rates.get(workflow, self._rates.get(business, self._rate))
