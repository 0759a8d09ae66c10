"""Handing over the spans of executions that have ended, if they are sampled.

Used by `runtime/owner/execution_owner.py`.
"""

from rillflow.core.commands import Announce, Command
from rillflow.core.inspection.traces import Trace
from rillflow.runtime.activation.active_execution import ActiveExecution
from rillflow.runtime.process.crash_log import log_crash
from rillflow.telemetry.span_queue import SpanQueue

_ENDS = ("DAG_SUCCEED", "DAG_FAILED")


class OwnerTraces:
    """The traces of one owner's executions."""

    def __init__(self, queue: SpanQueue | None) -> None:
        """Hand spans over to a queue; None exports nothing."""
        self._queue = queue

    def ended(self, execution: ActiveExecution, commands: list[Command]) -> None:
        """Take note of the commands of an event after which an execution is over.

        It is on disk by now. Only the event that ended it gives spans.
        """
        trace = execution.state.trace
        if trace is None or self._queue is None or not trace.is_sampled:
            return
        if any(map(_is_end, commands)):
            self.told_again(execution)

    def told_again(self, execution: ActiveExecution) -> None:
        """Hand over the spans of an execution that has ended, perhaps once more."""
        trace = execution.state.trace
        if trace is None or self._queue is None or not trace.is_sampled:
            return
        try:
            spans = list(Trace(execution.plan, execution.state).spans())
        except Exception as error:  # noqa: BLE001 - an execution must not fail for its trace
            log_crash("spans_not_derived", execution.state.execution_id, error)
            return
        self._queue.put(trace.trace_id, spans)

    async def stop(self) -> None:
        """Have what is queued exported, for some seconds at most."""
        if self._queue is not None:
            await self._queue.stop()


def _is_end(command: Command) -> bool:
    return isinstance(command, Announce) and not command.task and command.kind in _ENDS
