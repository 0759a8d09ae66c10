"""Handing over the spans of executions that have ended, if they are sampled.

Used by `runtime/owner/execution_owner.py`.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from rillflow.core.commands import Announce, Command
from rillflow.core.inspection.history.traces import Trace
from rillflow.ids import ExecutionId
from rillflow.ports.clock import Clock
from rillflow.ports.storage.store import Journal
from rillflow.runtime.activation.active_execution import ActiveExecution
from rillflow.runtime.owner.call_handling import CallOutcome
from rillflow.runtime.process.crash_log import log_crash
from rillflow.telemetry.span_queue import SpanQueue
from rillflow.telemetry.spans import STORE, Span
from rillflow.telemetry.trace_context import span_id_of

MOST_APPENDS: Final = 200
"""How many appends of a round have spans: the first ones."""
LONGEST_AWAY_MS: Final = 60_000
"""How long partitions may have been without an owner."""
HELD_MS: Final = 3_000
"""How long a queue holds spans, about, with their export."""
MOST_UNTOLD: Final = 500
_ENDS = ("DAG_SUCCEED", "DAG_FAILED")


class OwnerTraces:
    """The traces of one owner's executions."""

    def __init__(self, queue: SpanQueue | None, clock: Clock, journal: Journal) -> None:
        """Hand spans over to a queue; None exports nothing."""
        self._queue = queue
        self._clock = clock
        self._journal = journal
        self.is_on = queue is not None

    async def untold(self, partitions: Sequence[int]) -> list[ExecutionId]:
        """Return the executions whose spans the owner before may have held when it died.

        They are those that ended last in these partitions. A span that is told twice has the same
        id.
        """
        since_ms = self._clock.now_ms() - LONGEST_AWAY_MS
        found = await self._journal.ended_since(partitions, since_ms=since_ms, limit=MOST_UNTOLD)
        return [execution_id for execution_id, at_ms in found if at_ms >= found[0][1] - HELD_MS]

    def appended(self, written: Iterable[CallOutcome], began_ms: int) -> None:
        """Note of sampled executions when their events were appended, for a span of the store.

        The times are in no journal: spans of the store are told of appends of this process only.
        """
        ended_ms = self._clock.now_ms()
        for outcome in written:
            execution = outcome.execution
            trace = None if execution is None else execution.state.trace
            if execution is None or trace is None or not trace.is_sampled:
                continue
            if len(execution.append_times_ms) < MOST_APPENDS:
                execution.append_times_ms.append((began_ms, ended_ms))

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
            spans += _of_store(spans[0], execution)
        except Exception as error:  # noqa: BLE001 - an execution must not fail for its trace
            log_crash("spans_not_derived", execution.state.execution_id, error)
            return
        self._queue.put(trace.trace_id, spans)

    async def stop(self) -> None:
        """Have what is queued exported, for some seconds at most."""
        if self._queue is not None:
            await self._queue.stop()


def _of_store(root: Span, execution: ActiveExecution) -> Iterator[Span]:
    """Yield the spans of the appends in the round of an execution that has ended."""
    execution_id = execution.state.execution_id
    for number, (began_ms, ended_ms) in enumerate(execution.take_append_times()):
        yield Span(
            span_id=span_id_of(execution_id, STORE, root.span_id, number),
            parent_id=root.span_id,
            kind=STORE,
            name="store: append",
            start_ms=began_ms,
            end_ms=ended_ms,
            status="succeeded",
            facts={"rillflow.execution_id": execution_id},
        )


def _is_end(command: Command) -> bool:
    return isinstance(command, Announce) and not command.task and command.kind in _ENDS
