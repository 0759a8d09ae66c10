"""The host of a set of executions: takes calls in batches, journals, then acts.

The order never changes: handle in memory, append durably, then answer the caller and carry out
the commands. When the append fails, what memory holds is dropped, and the execution is read from
the store again. An answer that wrote nothing, but says what memory holds, waits until that is
durable. What fails unexpectedly concerns one execution only (``runtime.crashes.quarantine``).
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import assert_never

from rillflow.core import machine
from rillflow.core.events import CallbackReceived, TimerFired
from rillflow.core.tasks.kept_outputs import OUTPUTS_MAX_BYTES, within_limit
from rillflow.errors import (
    ConflictError,
    CrashedError,
    FencedError,
    QuotaError,
    RillflowError,
    SetApartError,
    StoreError,
)
from rillflow.ids import ExecutionId
from rillflow.ports.clock import Clock
from rillflow.ports.dispatcher import Dispatcher
from rillflow.ports.executions import (
    ELSEWHERE,
    Call,
    Delivery,
    Executions,
    Query,
    Reply,
    ResourceCall,
    Submission,
    TrafficCall,
    Watch,
    reply_to_error,
)
from rillflow.ports.gateway import DispatchAnswer
from rillflow.ports.store import Append, Store
from rillflow.runtime.activation.active_execution import ActiveExecution
from rillflow.runtime.activation.cache import ActivationCache
from rillflow.runtime.activation.call_outcome import CallOutcome, appends_under_way, reply_of
from rillflow.runtime.activation.decoding import decoded_first
from rillflow.runtime.activation.fencing import OwnerEpoch
from rillflow.runtime.activation.journal_rows import (
    SNAPSHOT_STEPS,
    JournalRows,
    Stage,
    row_of,
    stage_of,
)
from rillflow.runtime.activation.leases import Found, Leases, usable
from rillflow.runtime.activation.passivation import Passivation
from rillflow.runtime.aio.fair_turns import FairTurns, in_portions
from rillflow.runtime.aio.retrying import retry_while_unavailable
from rillflow.runtime.backpressure.busy_functions import Traffic
from rillflow.runtime.commands.runner import CommandRunner
from rillflow.runtime.commands.timers import Timer, Timers, firing_of
from rillflow.runtime.completion.server import CompletionServer
from rillflow.runtime.crashes.crash_history import CrashHistory
from rillflow.runtime.crashes.handling_record import COMMANDS, HandlingRecord, step_of
from rillflow.runtime.crashes.quarantine import Quarantine
from rillflow.runtime.hooks.chain import HookChain
from rillflow.runtime.owner import queries
from rillflow.runtime.owner.call_groups import in_groups
from rillflow.runtime.owner.mapping_log import MappingLog
from rillflow.runtime.owner.recovery import Recovery
from rillflow.runtime.owner.views import VIEWS_MAX_BYTES, Views
from rillflow.runtime.process.crash_log import log_crash
from rillflow.runtime.supervision.restarts import Restarts, Spawner

log = logging.getLogger("rillflow.owner")

PAUSE_S = 1.0
OWNERSHIP_S = 2.0
"""How long an owner that was taken for dead may go on reading after it was replaced."""
_ONE_BY_ONE = "what was written together is written one by one"


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
        most_hot: int = 20_000,
        hot_bytes: int = 1 << 29,
        snapshot_steps: int = SNAPSHOT_STEPS,
        outputs_max_bytes: int = OUTPUTS_MAX_BYTES,
        views_max_bytes: int = VIEWS_MAX_BYTES,
        guards: HookChain | None = None,
        quarantine: Quarantine | None = None,
        record: HandlingRecord | None = None,
        on_fenced: Callable[[], None] = lambda: None,
        spawner: Spawner | None = None,
        turns: FairTurns | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._outputs_max_bytes = outputs_max_bytes
        self._partitions = tuple(partitions)
        self._dedicated = dedicated
        self._ownership = OwnerEpoch(store, partitions, dedicated)
        self._quarantine = Quarantine(clock) if quarantine is None else quarantine
        self._deaths = CrashHistory(store, record or HandlingRecord())
        self._recovery = Recovery(
            self._quarantine, self._deaths, self.answers_arrived, self._tell_end
        )
        self._rows = JournalRows(self._ownership, snapshot_steps)
        self._resting = Passivation(store, self._rows, self._recovery.crashed)
        self._turns = turns or FairTurns()
        self._residents = ActivationCache(
            store,
            self._ownership,
            most_hot=most_hot,
            hot_bytes=hot_bytes,
            resumed=self._recovery.resumed,
            forgotten=self._recovery.forgotten,
            crashed=self._recovery.crashed,
            passivation=self._resting,
            deaths=self._deaths,
            turns=self._turns,
        )
        self._borrowing = Leases(
            self._residents, self._recovery.crashed, deaths=self._deaths, journal=store
        )
        self.still_awaited, self.unawaited = (
            self._borrowing.still_awaited,
            self._borrowing.unawaited,
        )
        self._timers = Timers(clock, self._timers_due, self._recovery.timer_crashed)
        guards = guards or HookChain()
        self._handle = guards.handling(machine.handle)
        self._errands = CommandRunner(
            clock=clock,
            catalogue=store,
            executions=executions,
            dispatcher=dispatcher,
            timers=self._timers,
            take=self.call_many,
            find=self._residents.find,
            still_awaited=self.still_awaited,
            crashed=self._recovery.crashed,
            host=callback_host,
            guards=guards,
            follows=dedicated is not None,
        )
        self.held = self._errands.outbound.held
        self._recovery.join(self._residents, self._errands)
        self._traffic = Traffic(clock)
        self._rules = MappingLog()
        portions = partial(in_portions, take=self._call_group)
        self._in_groups = partial(in_groups, must_read=self._borrowing.must_read, take=portions)
        self.watchers, self.views = CompletionServer(clock), Views(clock, views_max_bytes)
        self._on_fenced = on_fenced
        self._respawning = Restarts(store, partitions, spawner) if spawner else None
        self._background: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Take ownership and begin to recover what had not ended."""
        await self._ownership.take()
        await self._deaths.start(self._clock, self._ownership.is_near)
        if self._dedicated is not None:
            self._residents.unresumed.add(self._dedicated)
        else:
            unfinished = await self._store.unfinished(self._partitions)
            self._residents.unresumed.update(unfinished)
        self._timers.start()
        self._background = [
            asyncio.create_task(self._recovery.run(), name="recovery"),
            asyncio.create_task(self._watch_ownership(), name="ownership"),
        ]
        if self._respawning is not None:
            self._background.append(asyncio.create_task(self._respawning.run(), name="respawning"))

    async def stop(self) -> None:
        """Stop timers and errands; what is outstanding is left to the next owner."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._timers.stop()
        await self._errands.stop()
        await self._resting.stop()
        await self._deaths.stop()
        await self._residents.stop()

    async def recovered(self) -> None:
        """Wait until everything that had not ended is going on again."""
        for recovery in self._background[:1]:
            await asyncio.shield(recovery)

    @property
    def active(self) -> int:
        """How many executions are in memory and have not ended."""
        return self._residents.active

    async def is_known(self, execution_id: ExecutionId) -> bool:
        """Tell whether a submission came before; see ``ActivationCache``."""
        return await self._residents.is_known(execution_id)

    @property
    def epoch(self) -> int:
        """The epoch under which it owns its executions, greater than those before it."""
        return self._ownership.epoch

    async def call_many(self, calls: Sequence[Call]) -> list[Reply]:
        """Take a batch; the replies, in its order, come once everything is durable."""
        return await decoded_first(calls, lambda: self._in_groups(calls))

    async def _call_group(self, calls: Sequence[Call]) -> list[Reply]:
        """Take the first calls, together; those that met another state than the store's twice."""
        replies = await self._call_together(calls)
        for number, reply in enumerate(replies):
            if reply.kind == ConflictError.code:
                [replies[number]] = await self._call_together([calls[number]], look=True)
        return replies

    async def _call_together(self, calls: Sequence[Call], *, look: bool = False) -> list[Reply]:
        """Take calls; ``look`` reads the store before it makes an execution."""
        await self._turns.wait(calls[0].execution_id)
        released = self._recovery.released(calls)
        found = await self._borrowing.borrow_all(calls, look=look)
        batch = self._turns.take(calls, partial(self._take, found), whole=bool(released))
        self._deaths.end()
        written = [taken for taken in batch if taken.append is not None]
        touched = [taken.hosted for taken in written if taken.hosted is not None]
        done = self._residents.begin_append(touched)
        waits = appends_under_way(batch)
        self._borrowing.give_back(found)
        error: RillflowError | None = StoreError("the append was given up")
        try:
            error = await self._append(written)
            if error is None:
                self._carry_out(written)
        finally:
            self._residents.end_append(touched, done, written=error is None)
            self._recovery.go_on(released)
        if waits:
            await asyncio.wait(waits)
        return [reply_of(taken, error) for taken in batch]

    def _carry_out(self, written: Sequence[CallOutcome]) -> None:
        for taken in written:
            if taken.hosted is not None:
                execution_id = taken.hosted.state.execution_id
                self._deaths.begin(execution_id, COMMANDS)
                if taken.watch is not None:
                    self.watchers.watch(taken.watch.watcher, execution_id, taken.watch.show)
                self._errands.carry_out(execution_id, taken.commands, at_ms=taken.at_ms)
                if taken.over:
                    self._tell_end(taken.hosted)
                if taken.over and taken.hosted.over:
                    # Nor has a redo begun it anew, whose timers may be set already.
                    self._timers.forget(execution_id)
                    self._quarantine.forget(execution_id)
                    self._deaths.forget(execution_id)
                self._deaths.survived(execution_id, COMMANDS)
        self._deaths.end()
        self._errands.flush()

    def _tell_end(self, hosted: ActiveExecution) -> None:
        """Tell who waits for an execution that it has ended, which is on disk."""
        self.watchers.ended(hosted.state.execution_id, partial(self.views.shown_with_end, hosted))

    async def answers_arrived(self, answers: Sequence[DispatchAnswer]) -> None:
        """Take answers of dispatches; returns once they are durable.

        Raises:
            RillflowError: They could not be written; deliver them again.
        """
        at_ms = self._clock.now_ms()
        calls: list[Call] = []
        for answer in answers:
            self._learn(answer)
            event = self._errands.event_of(answer, at_ms)
            calls.append(Delivery(execution_id=answer.execution_id, event=event))
        await self._errands.outbound.told()
        replies = await self.call_many(calls)
        for reply in replies:
            if reply.is_unanswered:
                reply.raise_for_error()
        for answer, reply in zip(answers, replies, strict=True):
            if reply.kind == CrashedError.code:
                self._quarantine.keep(answer)
            else:
                self._errands.outbound.taken(answer)

    def _learn(self, answer: DispatchAnswer) -> None:
        try:
            self._errands.outbound.learn(answer)
        except Exception as error:  # noqa: BLE001 - the answer itself is worth more
            log_crash("hint_not_understood", answer.execution_id, error)

    async def is_replaced(self) -> bool:
        """Ask the store, until it answers, whether a newer owner has taken over."""
        return await retry_while_unavailable(self._ownership.is_lost)

    async def settled(self, execution_id: ExecutionId) -> None:
        """Wait until an execution has ended and owes nobody a notice."""
        await self._residents.settled(execution_id)

    def knows(self, execution_id: ExecutionId) -> bool:
        """Tell whether an execution is in memory."""
        return self._residents.find(execution_id) is not None

    def has_settled(self, execution_id: ExecutionId) -> bool:
        """Tell whether an execution that is in memory has ended for good, as the store knows."""
        return self._residents.has_settled(execution_id)

    def _take(self, found: Found, call: Call) -> CallOutcome:
        hosted = found.get(call.execution_id)
        if isinstance(call, Delivery):
            self._recovery.called(call.execution_id, call.event)
        step = step_of(call)
        self._deaths.begin(call.execution_id, step)
        try:
            taken = self._answer(call, usable(hosted), found)
        except RillflowError as error:
            return self._refusal(call, hosted, self._quarantine.explain(call.execution_id, error))
        except Exception as error:  # noqa: BLE001 - one execution must not stop the others
            hosted = found.get(call.execution_id)
            if isinstance(hosted, ActiveExecution):
                self._recovery.crashed(call.execution_id, error)
                self._residents.distrust(hosted)
            else:
                log_crash("call_failed", call.execution_id, error)
            return CallOutcome(reply_to_error(CrashedError("internal server error")))
        self._deaths.survived(call.execution_id, step)
        return taken

    def _answer(self, call: Call, hosted: ActiveExecution | None, found: Found) -> CallOutcome:
        match call:
            case Submission():
                return self._submit(call, found)
            case Delivery():
                return self._deliver(call, hosted)
            case Query():
                shown = self._quarantine.shown(call.execution_id)
                return CallOutcome(self.views.answer(call, hosted, shown), hosted)
            case Watch():
                return CallOutcome(self._watch(call, hosted), hosted)
            case ResourceCall():
                return CallOutcome(self._errands.outbound.hints.answer(call))
            case TrafficCall():
                return CallOutcome(Reply(changed=self._traffic.take(call.subject, call.limit)))
            case _:
                assert_never(call)

    def _watch(self, call: Watch, hosted: ActiveExecution | None) -> Reply:
        if hosted is None or hosted.over:
            return Reply(changed=False, body=self.views.shown_with_end(hosted, call.show))
        if self._ownership.is_elsewhere(call.execution_id):
            return Reply(changed=False, error="elsewhere", kind=ELSEWHERE)
        self.watchers.watch(call.watcher, call.execution_id, call.show)
        return Reply()

    def _submit(self, call: Submission, found: Found) -> CallOutcome:
        event = call.event
        known = self._residents.find(event.execution_id)
        if known is not None:
            return CallOutcome(Reply(changed=False), known)
        self._errands.outbound.hints.admit(call)
        plan = self._residents.plans.ready(event.definition_id)
        if plan is None:
            raise ConflictError(f"definition {event.definition_id} has left memory")
        state, handled = machine.submit(plan, event)
        self._rules.note(state, handled.mapped)
        hosted = ActiveExecution(plan, state, written=0)
        self._residents.admit(hosted)
        found[event.execution_id] = hosted
        append = self._rows.append_of(hosted, event, handled, Stage(), row_of(call))
        over, watch = hosted.over, call if call.watcher else None
        return CallOutcome(Reply(), hosted, append, handled.commands, event.at_ms, over, watch)

    def _deliver(self, call: Delivery, hosted: ActiveExecution | None) -> CallOutcome:
        if hosted is None:
            raise queries.unknown_execution(call.execution_id, call.event)
        execution_id = call.execution_id
        event = within_limit(hosted.plan, hosted.state, call.event, self._outputs_max_bytes)
        if self._ownership.is_elsewhere(execution_id) and not hosted.settled:
            return CallOutcome(Reply(changed=False, error="elsewhere", kind=ELSEWHERE))
        if call.hint_s > 0 and isinstance(event, CallbackReceived):
            self._errands.outbound.learn_of(execution_id, event.task, call.hint_s)
        before = stage_of(hosted)
        handled = self._handle(hosted.plan, hosted.state, event)
        if not handled.changed:
            return self._repetition(call, hosted)
        self._rules.note(hosted.state, handled.mapped)
        if before.settled and not hosted.settled:
            if self._ownership.is_elsewhere(execution_id):
                # What begins anew belongs to its own actor, which starts from the store.
                self._residents.distrust(hosted)
                self._ownership.release(execution_id)
                return CallOutcome(Reply(changed=False, error="elsewhere", kind=ELSEWHERE))
            self._residents.revive(hosted)
        append = self._rows.append_of(hosted, event, handled, before)
        reply = reply_to_error(handled.refusal) if handled.refusal else Reply()
        return CallOutcome(reply, hosted, append, handled.commands, event.at_ms, hosted.over)

    def _refusal(
        self, call: Call, hosted: ActiveExecution | RillflowError | None, error: RillflowError
    ) -> CallOutcome:
        """Refuse a call; a delivery only if memory is right, since it is not made again."""
        if isinstance(error, SetApartError):
            return CallOutcome(self._about_set_apart(call, error))
        reply = reply_to_error(error)
        if not isinstance(hosted, ActiveExecution):
            return CallOutcome(reply)
        is_final = isinstance(call, Delivery) and not isinstance(call.event, TimerFired)
        append = self._rows.confirmation_of(hosted) if is_final else None
        return CallOutcome(reply, hosted, append)

    def _about_set_apart(self, call: Call, error: SetApartError) -> Reply:
        if self._ownership.is_elsewhere(call.execution_id) and not isinstance(call, Query):
            return Reply(changed=False, error="elsewhere", kind=ELSEWHERE)
        if not isinstance(call, Watch):
            return queries.answer_set_apart(call, error)
        self.watchers.watch(call.watcher, call.execution_id, call.show)
        return Reply()

    def _repetition(self, call: Delivery, hosted: ActiveExecution) -> CallOutcome:
        """Acknowledge what counts for nothing; nobody delivers it again after that."""
        if isinstance(call.event, TimerFired):
            return CallOutcome(Reply(changed=False), hosted)
        return CallOutcome(Reply(changed=False), hosted, self._rows.confirmation_of(hosted))

    async def _append(self, written: Sequence[CallOutcome]) -> RillflowError | None:
        appends = [taken.append for taken in written if taken.append is not None]
        if not appends:
            return None
        try:
            await self._store.append(appends)
        except StoreError as error:
            return await self._not_written(appends, error)
        except Exception as error:  # noqa: BLE001 - one execution must not stop the others
            if len(appends) > 1:
                return ConflictError(_ONE_BY_ONE)
            self._recovery.crashed(appends[0].execution_id, error)
            return CrashedError("internal server error")
        return None

    async def _not_written(self, appends: Sequence[Append], error: StoreError) -> RillflowError:
        if isinstance(error, FencedError):
            return await self._fenced(appends, error)
        if isinstance(error, QuotaError):
            return error if len(appends) == 1 else ConflictError(_ONE_BY_ONE)
        log.error("append_failed", extra={"appends": len(appends)}, exc_info=error)
        return error

    async def _fenced(self, appends: Sequence[Append], error: FencedError) -> RillflowError:
        """Adopt those of the executions that are dedicated, or leave.

        What was read of them before is out of date, so the calls meet another state.
        """
        log.warning("fenced", extra={"appends": len(appends)})
        ids = [append.execution_id for append in appends]
        elsewhere = [each for each in ids if self._ownership.is_elsewhere(each)]
        try:
            for execution_id in elsewhere:
                await self._ownership.adopt(execution_id)
        except StoreError as failure:
            return failure
        await self._leave_if_lost()
        return ConflictError("what was read is out of date") if elsewhere else error

    async def _watch_ownership(self) -> None:
        """Notice a newer owner also when there is nothing to write, and leave."""
        while True:
            await asyncio.sleep(OWNERSHIP_S)
            try:
                await self._leave_if_lost()
            except Exception:
                log.exception("ownership_not_checked")

    async def _leave_if_lost(self) -> None:
        try:
            if await self._ownership.is_lost():
                self._on_fenced()
        except StoreError as error:
            log.warning("ownership_unknown", extra={"reason": str(error)})

    async def _timers_due(self, timers: list[Timer]) -> None:
        now_ms = self._clock.now_ms()
        calls = [firing_of(timer, now_ms) for timer in timers]
        for timer, reply in zip(timers, await self.call_many(calls), strict=True):
            if reply.is_unanswered:
                self._timers.set(timer, after_s=PAUSE_S)
