"""What calls have led to in memory is written, answered and carried out, in this order.

If the append fails, the state in memory is distrusted; if the process ends before the commands, its
successor carries them out. A reply that wrote nothing, but reports the state in memory, waits until
that state is durable.

Used by `runtime/owner/execution_owner.py`.
"""

import asyncio
from collections.abc import Sequence
from functools import partial

import msgspec

from rillflow.errors import RillflowError
from rillflow.ids import ExecutionId
from rillflow.ports.clock import Clock
from rillflow.ports.executions import Reply, Until
from rillflow.runtime.activation.active_execution import ActiveExecution
from rillflow.runtime.activation.cache import ActivationCache, OpenAppend
from rillflow.runtime.activation.divided_turns import DividedTurns
from rillflow.runtime.activation.journal import JournalWriter, listed_status
from rillflow.runtime.aio.fair_turns import FairTurns
from rillflow.runtime.changes.feed import ChangeFeed
from rillflow.runtime.commands.runner import CommandRunner
from rillflow.runtime.commands.timers import Timers
from rillflow.runtime.completion.server import CompletionServer
from rillflow.runtime.crashes.crash_history import COMMANDS, CrashHistory
from rillflow.runtime.crashes.quarantine import Quarantine
from rillflow.runtime.owner.call_handling import CallOutcome, appends_under_way, reply_of
from rillflow.runtime.owner.measuring import BatchTimes, OwnerMeters
from rillflow.runtime.owner.recovery import Recovery
from rillflow.runtime.owner.tracing import OwnerTraces
from rillflow.runtime.owner.views import Views


class Commit(msgspec.Struct, frozen=True):
    """The outcomes of some calls, and what must be over before they are answered.

    ``first`` is the execution of the first call. ``released`` are quarantined executions that go on
    afterwards.
    """

    first: ExecutionId
    batch: Sequence[CallOutcome]
    released: Sequence[ExecutionId]
    written: Sequence[CallOutcome]
    append: OpenAppend
    under_way: "set[asyncio.Future[None]]"


class Commits:
    """Writes what calls of one owner have led to, and carries it out."""

    def __init__(  # noqa: PLR0913 - the ports it joins
        self,
        *,
        clock: Clock,
        turns: FairTurns,
        divided: DividedTurns,
        activations: ActivationCache,
        writer: JournalWriter,
        recovery: Recovery,
        quarantine: Quarantine,
        crashes: CrashHistory,
        commands: CommandRunner,
        timers: Timers,
        watchers: CompletionServer,
        views: Views,
        changes: ChangeFeed,
        meters: OwnerMeters,
        traces: OwnerTraces,
    ) -> None:
        self._clock = clock
        self._turns = turns
        self._divided = divided
        self._activations = activations
        self._writer = writer
        self._recovery = recovery
        self._quarantine = quarantine
        self._crashes = crashes
        self._commands = commands
        self._timers = timers
        self._watchers = watchers
        self._views = views
        self._changes = changes
        self._meters = meters
        self._traces = traces

    def begin(
        self,
        first: ExecutionId,
        batch: Sequence[CallOutcome],
        released: Sequence[ExecutionId],
    ) -> Commit:
        """Begin while the executions are leased; from here on the append holds them in memory."""
        written = [outcome for outcome in batch if outcome.append is not None]
        executions = {id(each.execution): each.execution for each in written if each.execution}
        append = self._activations.begin_append(list(executions.values()))
        return Commit(first, batch, released, written, append, appends_under_way(batch))

    async def end(
        self, commit: Commit, until: Until | None, began_s: float, computed_s: float
    ) -> list[Reply]:
        """Write, and return the replies; the commands are carried out right after that."""
        written, append, released = commit.written, commit.append, commit.released
        is_written = False
        try:
            error, append_s = None if until is None else await until(), 0.0
            if error is None:
                with self._turns.in_hand(commit.first):
                    error, append_s = await self._append(written)
            is_written = error is None
        finally:
            if is_written and written:
                # The loop runs this after the current task, which hands the answer over.
                loop = asyncio.get_running_loop()
                if until is not None:  # that wait was no work
                    began_s = self._meters.now_s() - computed_s - append_s
                times = BatchTimes(began_s, computed_s, append_s)
                loop.call_soon(self._carry_out, written, append, released, times)
            else:
                append.end(is_written=is_written)
                self._recovery.go_on(released)
        if commit.under_way:
            await asyncio.wait(commit.under_way)
        return [reply_of(outcome, error) for outcome in commit.batch]

    async def _append(self, written: Sequence[CallOutcome]) -> tuple[RillflowError | None, float]:
        """Append what is to be written; return why it was not, and how long it took in seconds."""
        if not written:
            return None, 0.0
        began_s, began_ms = self._meters.now_s(), self._clock.now_ms() if self._traces.is_on else 0
        error = await self._writer.append([each.append for each in written if each.append])
        append_s = self._meters.now_s() - began_s
        if error is not None:
            self._meters.append_failed()
        elif self._traces.is_on:
            self._traces.appended(written, began_ms)
        return error, append_s

    def _carry_out(
        self,
        written: Sequence[CallOutcome],
        append: OpenAppend,
        released: Sequence[ExecutionId],
        times: BatchTimes,
    ) -> None:
        """Carry out the commands of what was written; nobody gets at the executions before.

        They are read for that, which must wait while a later event is changing one of them.
        """
        if self._divided.are_any:
            ids = (each.execution.state.execution_id for each in written if each.execution)
            again = partial(self._carry_out, written, append, released, times)
            if self._divided.postpone(ids, again):
                return
        durable_s = self._meters.now_s()
        try:
            for outcome in written:
                execution = outcome.execution
                if execution is None:
                    continue
                try:
                    self._carry_out_of(outcome, execution)
                except Exception as error:  # noqa: BLE001 - one execution must not stop the others
                    self._recovery.crashed(execution.state.execution_id, error)
            self._crashes.end()
            self._commands.flush()
            self._meters.carried_out(written, times, durable_s)
        finally:
            append.end(is_written=True)
            self._recovery.go_on(released)

    def _carry_out_of(self, outcome: CallOutcome, execution: ActiveExecution) -> None:
        execution_id = execution.state.execution_id
        self._crashes.begin(execution_id, COMMANDS)
        if outcome.watch is not None:
            self._watchers.watch(outcome.watch.watcher, execution_id, outcome.watch.show)
        self._commands.carry_out(execution_id, outcome.commands, at_ms=outcome.at_ms)
        if self._changes.is_heard:
            self._changes.note(execution_id, execution.state.seq, listed_status(execution.state))
        if outcome.over:
            self.tell_end(execution)
            self._traces.ended(execution, outcome.commands)
            if execution.over:
                # This also means that no redo has restarted it, whose timers may be set already.
                self._timers.forget(execution_id)
                self._quarantine.forget(execution_id)
                self._crashes.forget(execution_id)
        if self._crashes.suspects:
            self._crashes.survived(execution_id, COMMANDS)

    def found_ended(self, execution: ActiveExecution) -> None:
        """Tell of an execution that has ended before this owner began to own it."""
        self.tell_end(execution)
        self._traces.told_again(execution)

    def tell_end(self, execution: ActiveExecution) -> None:
        """Tell the watchers of an execution that it has ended durably."""
        shown = partial(self._views.shown_with_end, execution)
        self._watchers.ended(execution.state.execution_id, shown)
