"""The owner of a set of executions: takes calls in batches, journals them, then acts.

The order never changes: handle in memory, append durably, answer the caller, carry out the
commands. If the append fails, the state in memory is dropped, and the execution is read from the
store again; if the process ends before the commands, its successor carries them out. A reply that
wrote nothing, but reports the state in memory, waits until that state is durable. An unexpected
failure affects one execution only (``runtime.crashes.quarantine``).

Used by `actors`, `runtime` and `runtime/owner`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from functools import partial
from types import MappingProxyType
from typing import Final, NamedTuple

from rillflow.core.tasks.kept_outputs import OUTPUTS_MAX_BYTES
from rillflow.core.turn import Turn
from rillflow.errors import ConflictError, CrashedError, UnreadAnswersError
from rillflow.gateways.outbound.threads import SHORT_BYTES
from rillflow.ids import ExecutionId, workspace_of
from rillflow.jsontypes import JsonObject
from rillflow.language.budget import PORTION_STEPS
from rillflow.ports.clock import Clock
from rillflow.ports.dispatcher import Dispatcher
from rillflow.ports.executions import (
    Call,
    Delivery,
    Executions,
    Reply,
    Until,
    longest_text,
    reply_to_error,
)
from rillflow.ports.gateway import DispatchAnswer
from rillflow.ports.storage.store import Store
from rillflow.runtime.activation.active_execution import ActiveExecution
from rillflow.runtime.activation.cache import ActivationCache
from rillflow.runtime.activation.divided_turns import DividedTurns, UnfinishedTurn, parted
from rillflow.runtime.activation.eviction_writes import EvictionWrites
from rillflow.runtime.activation.journal import (
    SNAPSHOT_STEPS,
    JournalRows,
    JournalWriter,
    OwnerEpoch,
)
from rillflow.runtime.activation.leases import Leases, LeaseSource, is_distrusted
from rillflow.runtime.aio.fair_turns import FairTurns, Take, in_groups, in_portions
from rillflow.runtime.aio.large_texts import LargeTexts, taken_after
from rillflow.runtime.aio.retrying import retry_while_unavailable
from rillflow.runtime.changes.feed import ChangeFeed
from rillflow.runtime.commands.runner import CommandRunner
from rillflow.runtime.commands.subflows import StoreLimits, Workspaces, without_limit
from rillflow.runtime.commands.timers import Timer, Timers, firing_of
from rillflow.runtime.completion.server import CompletionServer
from rillflow.runtime.crashes.crash_history import CrashHistory, HandlingRecord, step_of
from rillflow.runtime.crashes.quarantine import Quarantine
from rillflow.runtime.hooks.chain import HookChain
from rillflow.runtime.owner.call_handling import CallHandling, CallOutcome
from rillflow.runtime.owner.cold_reads import ColdReads
from rillflow.runtime.owner.commits import Commits
from rillflow.runtime.owner.dedicated_memory import DedicatedMemory
from rillflow.runtime.owner.measuring import OwnerMeters
from rillflow.runtime.owner.recovery import Recovery
from rillflow.runtime.owner.tracing import OwnerTraces
from rillflow.runtime.owner.views import VIEWS_MAX_BYTES, Views
from rillflow.runtime.process.memory_bound import MemoryBound
from rillflow.runtime.supervision.restarts import Restarts, Spawner
from rillflow.telemetry import metrics
from rillflow.telemetry.meters import Meters
from rillflow.telemetry.span_queue import SpanQueue

log = logging.getLogger("rillflow.owner")

PAUSE_S = 1.0


class OwnerLimits(NamedTuple):
    """What an owner keeps in memory, and how often it takes snapshots.

    Attributes:
        most_hot: How many executions that have not ended stay in memory.
        hot_bytes: What they may take there, about.
        snapshot_steps: After how many steps of replay a snapshot is taken.
        outputs_max_bytes: What the outputs of a foreach may take together.
        views_max_bytes: What large answers that are being read may take together.
        subflow_workspaces: In which workspaces those of its executions may start sub-flows beside
            their own; without any they may in all.
        take_store: Counts what sub-flows and signals store.
        portion_steps: After how many steps of its evaluations an event may be interrupted.
        memory: What the processes of dedicated executions may take together.
    """

    most_hot: int = 20_000
    hot_bytes: int = 1 << 29
    snapshot_steps: int = SNAPSHOT_STEPS
    outputs_max_bytes: int = OUTPUTS_MAX_BYTES
    views_max_bytes: int = VIEWS_MAX_BYTES
    subflow_workspaces: Workspaces = MappingProxyType({})
    take_store: StoreLimits = without_limit
    portion_steps: int = PORTION_STEPS
    memory: MemoryBound | None = None


DEFAULT_LIMITS: Final = OwnerLimits()


class ExecutionOwner:
    """Owns the executions of some partitions, or one dedicated execution."""

    def __init__(  # noqa: PLR0913 - the ports it joins
        self,
        *,
        store: Store,
        clock: Clock,
        dispatcher: Dispatcher,
        executions: Executions,
        callback_host: str,
        partitions: Sequence[int] = (),
        dedicated: ExecutionId | None = None,
        limits: OwnerLimits = DEFAULT_LIMITS,
        guards: HookChain | None = None,
        quarantine: Quarantine | None = None,
        record: HandlingRecord | None = None,
        on_fenced: Callable[[], None] = lambda: None,
        spawner: Spawner | None = None,
        turns: FairTurns | None = None,
        meters: Meters | None = None,
        spans: SpanQueue | None = None,
        holder: JsonObject | None = None,
    ) -> None:
        self._store, self._clock, meters = store, clock, meters or Meters("owner")
        self._meters, self._traces = OwnerMeters(meters, clock), OwnerTraces(spans, clock, store)
        self._partitions, self._dedicated = tuple(partitions), dedicated
        self._turns, most = turns or FairTurns(), limits.views_max_bytes
        self._quarantine = Quarantine(clock) if quarantine is None else quarantine
        self._crashes = CrashHistory(store, record or HandlingRecord())
        take, ended = self.answers_arrived, self._found_ended
        self._recovery = Recovery(self._quarantine, self._crashes, take, ended, self._meters.failed)
        self._ownership = OwnerEpoch(store, partitions, dedicated)
        self._rows = JournalRows(self._ownership, limits.snapshot_steps)
        crashed, guards = self._recovery.crashed, guards or HookChain()
        self._writer = JournalWriter(store, self._ownership, crashed=crashed, on_fenced=on_fenced)
        self._eviction_writes = EvictionWrites(store, self._rows, crashed)
        self._divided = DividedTurns(self._turns, self._crashes, limits.portion_steps)
        self._activations, self._memory = self._in_memory(limits)
        self.settled, self.has_settled = self._activations.settled, self._activations.has_settled
        self._leases = LeaseSource(self._activations, crashed, crashes=self._crashes, journal=store)
        self.still_awaited, self.unawaited = self._leases.still_awaited, self._leases.unawaited
        self._timers = Timers(clock, self._timers_due, self._recovery.timer_crashed, self._lane_of)
        self._measure(meters)
        self._commands = self._command_runner(dispatcher, executions, callback_host, guards, limits)
        self.held, self.ended_calls = self._commands.outbound.held, self._leases.ended_calls
        self._recovery.join(self._activations, self._commands)
        self.changes, self._cold_reads = ChangeFeed(clock), ColdReads()
        self.watchers, self.views = CompletionServer(clock), Views(clock, most, holder)
        self._calls, self._commits = self._call_handling(guards, limits), self._new_commits()
        self._respawning = Restarts(store, partitions, spawner) if spawner else None
        self._large_texts = LargeTexts(store, self._calls.refuses, self._leases.unread)
        self._background, self._has_started = list[asyncio.Task[None]](), asyncio.Event()

    def _measure(self, meters: Meters) -> None:
        meters.read(metrics.HOT, lambda: {(): self.active})
        meters.read(metrics.TIMERS, lambda: {(): len(self._timers)})

    def _in_memory(self, limits: OwnerLimits) -> tuple[ActivationCache, DedicatedMemory | None]:
        bound, dedicated = limits.memory, self._dedicated
        activations = ActivationCache(
            self._store,
            self._ownership,
            most_hot=limits.most_hot,
            hot_bytes=limits.hot_bytes,
            watch=self._recovery,
            eviction_writes=self._eviction_writes,
            crashes=self._crashes,
            turns=self._turns,
            divided=self._divided,
            room=nullcontext if bound is None else bound.room,
        )
        if bound is None or dedicated is None:
            return activations, None
        return activations, DedicatedMemory(bound, activations, dedicated)

    def _command_runner(
        self,
        dispatcher: Dispatcher,
        executions: Executions,
        host: str,
        guards: HookChain,
        limits: OwnerLimits,
    ) -> CommandRunner:
        return CommandRunner(
            clock=self._clock,
            catalogue=self._store,
            executions=executions,
            dispatcher=dispatcher,
            timers=self._timers,
            take=self.call_many,
            find=self._activations.find,
            still_awaited=self.still_awaited,
            crashed=self._recovery.crashed,
            host=host,
            guards=guards,
            dedicated=self._dedicated,
            subflow_workspaces=limits.subflow_workspaces,
            take_store=limits.take_store,
        )

    def _call_handling(self, guards: HookChain, limits: OwnerLimits) -> CallHandling:
        return CallHandling(
            clock=self._clock,
            ownership=self._ownership,
            activations=self._activations,
            rows=self._rows,
            recovery=self._recovery,
            quarantine=self._quarantine,
            crashes=self._crashes,
            outbound=self._commands.outbound,
            watchers=self.watchers,
            views=self.views,
            outputs_max_bytes=limits.outputs_max_bytes,
            take_store=limits.take_store,
            # Whoever writes a hook does not expect another event while it waits for `proceed`.
            turns=self._divided.turns if guards.is_empty else Turn,
            guards=guards,
        )

    def _new_commits(self) -> Commits:
        return Commits(
            clock=self._clock,
            turns=self._turns,
            divided=self._divided,
            activations=self._activations,
            writer=self._writer,
            recovery=self._recovery,
            quarantine=self._quarantine,
            crashes=self._crashes,
            commands=self._commands,
            timers=self._timers,
            watchers=self.watchers,
            views=self.views,
            changes=self.changes,
            meters=self._meters,
            traces=self._traces,
        )

    async def start(self) -> None:
        """Take ownership and begin to recover the executions that have not ended."""
        await self._ownership.take()
        await self._crashes.start(self._clock, self._ownership.is_near)
        if self._dedicated is not None:
            self._activations.unresumed.add(self._dedicated)
        else:
            unfinished = await self._store.unfinished(self._partitions)
            self._activations.unresumed.update(unfinished)
            if self._traces.is_on:
                self._activations.unresumed.update(await self._traces.untold(self._partitions))
        self._timers.start()
        self._background = [
            asyncio.create_task(self._recovery.run(), name="recovery"),
            asyncio.create_task(self._writer.watch_ownership(), name="ownership"),
        ]
        if self._memory is not None:
            self._background.append(asyncio.create_task(self._memory.run(), name="memory"))
        if self._respawning is not None:
            self._background.append(asyncio.create_task(self._respawning.run(), name="respawning"))
        self._has_started.set()

    async def has_started(self) -> None:
        """Wait until this has begun: whoever reads an execution before may read a fatal one."""
        await self._has_started.wait()

    async def stop(self) -> None:
        """Stop timers and commands; what is outstanding is left to the next owner."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._timers.stop()
        await self._commands.stop()
        await self._eviction_writes.stop()
        await self._crashes.stop()
        await self._activations.stop()
        await self._traces.stop()

    async def recovered(self) -> None:
        """Wait until all executions that had not ended have been resumed."""
        for recovery in self._background[:1]:
            await asyncio.shield(recovery)

    @property
    def active(self) -> int:
        """The number of executions in memory that have not ended."""
        return self._activations.active

    @property
    def append_ms(self) -> float:
        """How long an append to the store takes, on average of the latest ones."""
        return self._writer.append_s * 1000

    async def is_known(self, execution_id: ExecutionId) -> bool:
        """Tell whether a submission came before; see ``ActivationCache``."""
        return await self._activations.is_known(execution_id)

    @property
    def epoch(self) -> int:
        """The epoch of this owner, greater than those of earlier owners."""
        return self._ownership.epoch

    async def call_many(self, calls: Sequence[Call], until: Until | None = None) -> list[Reply]:
        """Handle a batch; the replies, in its order, come once everything is durable.

        Submissions may come ahead of their time: they are written after ``until``, or refused.
        """
        return await self._take_in_groups(calls, waits=True, until=until)

    async def call_ready(self, calls: Sequence[Call]) -> list[Reply]:
        """Handle a batch but for what takes long to read, which is refused as ``NotReadyError``."""
        return await self._take_in_groups(calls, waits=False)

    def _take_in_groups(
        self,
        calls: Sequence[Call],
        *,
        waits: bool,
        until: Until | None = None,
        learn: Callable[[Sequence[Call]], Awaitable[None]] | None = None,
    ) -> Awaitable[list[Reply]]:
        """Handle a batch; ``learn`` from the calls of a portion whose large texts are prepared."""
        take: Take = partial(in_portions, take=partial(self._call_group, waits=waits, until=until))
        if learn is not None:
            take = partial(taken_after, learn, take)
        if longest_text(calls) > SHORT_BYTES:
            take = partial(self._large_texts.first, take=take)
        kept = self._activations.kept_if_large if waits else None
        around = partial(in_groups, calls, self._leases.unread, take, kept)
        return around() if self._memory is None else self._memory.around(around)

    async def _call_group(
        self, calls: Sequence[Call], *, waits: bool, until: Until | None = None
    ) -> list[Reply]:
        """Handle the first calls together, or one alone that reads what is not in memory."""
        if not waits or not self._leases.reads_cold(calls[0]):
            return await self._call_twice(calls, waits=waits, until=until)
        try:
            async with self._cold_reads.place(calls[0].execution_id):
                replies = await self._call_twice(calls[:1], waits=True)
                await self.views.encoded(replies[0].view)
                return replies
        except UnreadAnswersError as error:
            return [reply_to_error(error)]

    async def _call_twice(
        self, calls: Sequence[Call], *, waits: bool, until: Until | None = None
    ) -> list[Reply]:
        """Handle the first calls together; repeat those that differed from the store."""
        replies = await self._call_together(calls, waits=waits, until=until)
        for number, reply in enumerate(replies):
            if reply.kind == ConflictError.code:
                again = self._call_together([calls[number]], look=True, waits=waits)
                [replies[number]] = await again
        return replies

    async def _call_together(
        self,
        calls: Sequence[Call],
        *,
        look: bool = False,
        waits: bool,
        until: Until | None = None,
    ) -> list[Reply]:
        """Handle calls; ``look`` reads the store before it makes an execution."""
        began_s, released, leases = await self._leases_for(calls, look=look, waits=waits)
        with leases as leased:
            leased_s = self._meters.now_s()
            take = self._calls.take
            handle = (
                partial(take, leased) if released else partial(self._divided.begin, take, leased)
            )
            handled = self._turns.take(calls, handle, whole=bool(released))
            computed_s = self._meters.now_s() - leased_s
            self._crashes.end()
            batch, unfinished = parted(handled)
            kept = None if unfinished is None else leases.split(unfinished.execution_id)
            commit = self._commits.begin(calls[0].execution_id, batch, released)
        replies = await self._commits.end(commit, until, began_s, computed_s)
        if unfinished is not None and kept is not None:
            step = step_of(calls[len(batch)])
            replies.append(await self._finish(unfinished, kept, step, until))
        return replies

    async def _finish(
        self,
        unfinished: UnfinishedTurn[CallOutcome],
        leases: Leases,
        step: str,
        until: Until | None,
    ) -> Reply:
        """Handle the rest of a call; if that is given up, nobody trusts the state it has left."""
        execution_id, began_s = unfinished.execution_id, self._meters.now_s()
        with leases as leased:
            try:
                outcome = await self._divided.finish(unfinished, step)
                if outcome.append is not None and is_distrusted(leased.get(execution_id)):
                    error = ConflictError("what was read before could not be written")
                    outcome = CallOutcome(reply_to_error(error))
                commit = self._commits.begin(execution_id, [outcome], [])
            except BaseException:
                execution = leased.get(execution_id)
                if isinstance(execution, ActiveExecution):
                    self._activations.distrust(execution)
                raise
            finally:
                self._divided.end(execution_id)
        [reply] = await self._commits.end(commit, until, began_s, self._meters.now_s() - began_s)
        return reply

    async def _leases_for(
        self, calls: Sequence[Call], *, look: bool, waits: bool
    ) -> tuple[float, list[ExecutionId], Leases]:
        """Lease what calls concern, as soon as no turn under way is in their way."""
        released: list[ExecutionId] = []
        while True:
            if self._turns.is_full:
                await self._turns.wait(calls[0].execution_id)
            began_s = self._meters.now_s()
            if self._crashes.suspects:
                released += self._recovery.released(calls)
            leases = await self._leases.for_calls(calls, look=look, waits=waits)
            if leases.cold_bytes and self._turns.is_full:
                # Many calls may have waited for what was read; all of them go on in this turn.
                with leases.unless_interrupted():
                    await self._turns.wait(calls[0].execution_id)
            if not self._divided.block(calls):
                return began_s, released, leases
            leases.release()
            await self._divided.unblocked(calls)

    def _found_ended(self, execution: ActiveExecution) -> None:
        self._commits.found_ended(execution)

    async def answers_arrived(self, answers: Sequence[DispatchAnswer]) -> None:
        """Handle answers of dispatches; returns once they are durable.

        Raises:
            RillflowError: They could not be written; deliver them again.
        """
        at_ms = self._clock.now_ms()
        calls = [
            Delivery(execution_id=each.execution_id, event=self._commands.event_of(each, at_ms))
            for each in answers
        ]
        outbound, learn = self._commands.outbound, None
        if longest_text(calls) > SHORT_BYTES:
            by_call = {id(call): answer for call, answer in zip(calls, answers, strict=True)}
            learn = partial(outbound.learn_from, by_call)
        else:
            outbound.learn_all(answers)
            await outbound.told()
        replies = await self._take_in_groups(calls, waits=True, learn=learn)
        refused = [pair for pair in zip(answers, replies, strict=True) if pair[1].error is not None]
        for _, reply in refused:
            if reply.is_unanswered:
                reply.raise_for_error()
        crashed = [answer for answer, reply in refused if reply.kind == CrashedError.code]
        for answer in crashed:
            self._quarantine.keep(answer)
        outbound.taken(answers, but=crashed)

    async def is_replaced(self) -> bool:
        """Ask the store, until it answers, whether a newer owner has taken over."""
        return await retry_while_unavailable(self._ownership.is_lost)

    def trace_of(self, execution_id: ExecutionId) -> str | None:
        """Return the id of the trace of an execution in memory, if it is sampled."""
        execution = self._activations.peek(execution_id)
        trace = None if execution is None else execution.state.trace
        return trace.trace_id if trace is not None and trace.is_sampled else None

    def knows(self, execution_id: ExecutionId) -> bool:
        """Tell whether an execution is in memory."""
        return self._activations.find(execution_id) is not None

    def _lane_of(self, execution_id: ExecutionId) -> tuple[str, bool]:
        return workspace_of(execution_id), self._activations.holds(execution_id)

    async def _timers_due(self, timers: list[Timer]) -> None:
        now_ms = self._clock.now_ms()
        for timer in timers:
            self._meters.timer_lateness.observe(max(now_ms - timer.due_ms, 0) / 1000)
        calls = [firing_of(timer, now_ms) for timer in timers]
        for timer, reply in zip(timers, await self.call_many(calls), strict=True):
            if reply.is_unanswered:
                self._timers.set(timer, after_s=PAUSE_S)
