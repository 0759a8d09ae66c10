"""The host of a set of executions: takes calls in batches, journals, then acts.

The order never changes: handle in memory, append durably, then answer the caller
and carry out the commands. When the append fails, what memory holds is dropped and
the next call reads the execution from the store again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, assert_never

from rillflow.core import codec, machine
from rillflow.core.commands import Command
from rillflow.core.events import CallbackReceived, Event, TimerFired
from rillflow.errors import (
    DefinitionError,
    FencedError,
    RillflowError,
    StoreError,
)
from rillflow.ids import ExecutionId
from rillflow.ports.clock import Clock
from rillflow.ports.dispatcher import Dispatcher
from rillflow.ports.executions import (
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
from rillflow.ports.store import Append, Closing, NewExecution, Store
from rillflow.runtime.errands import Errands
from rillflow.runtime.guards import Guards
from rillflow.runtime.hints import Traffic
from rillflow.runtime.hosted import Hosted, HotExecutions, Plans, replay
from rillflow.runtime.ownership import DEDICATED_LISTING, Ownership, listing_partition
from rillflow.runtime.queries import answer_query, unknown_execution
from rillflow.runtime.timers import Timer, Timers
from rillflow.runtime.waiting import Watchers

log = logging.getLogger("rillflow.host")

ELSEWHERE = "host.elsewhere"
"""Kind of the reply to a call for an execution that has a Ray actor of its own."""


class Taken(NamedTuple):
    """What became of a call in memory: its reply, and what to write and do before it is given."""

    reply: Reply
    append: Append | None = None
    hosted: Hosted | None = None
    commands: list[Command] = []  # noqa: RUF012 - never changed


class ExecutionHost:
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
        guards: Guards | None = None,
        on_fenced: Callable[[], None] = lambda: None,
        respawn: Callable[[ExecutionId], Awaitable[None]] | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._partitions = tuple(partitions)
        self._dedicated = dedicated
        self._ownership = Ownership(store, partitions, dedicated)
        self._plans = Plans(store)
        self._hot = HotExecutions(most_hot)
        self._ended = HotExecutions(512)
        self._loading: dict[ExecutionId, asyncio.Future[Hosted | None]] = {}
        self._unresumed: set[ExecutionId] = set()
        self._timers = Timers(clock, self._timers_due)
        guards = guards or Guards()
        self._handle = guards.handling(machine.handle)
        self._errands = Errands(
            clock=clock,
            catalogue=store,
            executions=executions,
            dispatcher=dispatcher,
            timers=self._timers,
            take=self.call_many,
            find=self._find,
            host=callback_host,
            guards=guards,
        )
        self._traffic = Traffic(clock)
        self.watchers = Watchers()
        self._settlements: dict[ExecutionId, asyncio.Event] = {}
        self._on_fenced = on_fenced
        self._respawn = respawn
        self._recovery: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take ownership and begin to recover what had not ended."""
        await self._ownership.take()
        if self._dedicated is not None:
            self._unresumed.add(self._dedicated)
        else:
            self._unresumed.update(await self._store.unfinished(self._partitions))
        self._timers.start()
        self._recovery = asyncio.create_task(self._recover(), name="recovery")

    async def stop(self) -> None:
        """Stop timers and errands; what is outstanding is left to the next owner."""
        if self._recovery is not None:
            self._recovery.cancel()
            await asyncio.gather(self._recovery, return_exceptions=True)
        await self._timers.stop()
        await self._errands.stop()

    async def recovered(self) -> None:
        """Wait until everything that had not ended is going on again."""
        if self._recovery is not None:
            await asyncio.shield(self._recovery)

    @property
    def active(self) -> int:
        """How many executions are in memory and have not ended."""
        return len(self._hot)

    # -- calls ----------------------------------------------------------------------

    async def call_many(self, calls: Sequence[Call]) -> list[Reply]:
        """Take a batch; the replies, in its order, come once everything is durable.

        A submission with an idempotency key is refused by the store when the key is
        taken, so it is written apart from the rest, which it must not take down.
        """
        apart = [n for n, call in enumerate(calls) if _has_key(call)] if len(calls) > 1 else []
        if not apart:
            return await self._call_together(calls)
        rest = [number for number in range(len(calls)) if number not in set(apart)]
        groups = [*([number] for number in apart), rest]
        answered = await asyncio.gather(
            *(self._call_together([calls[number] for number in group]) for group in groups)
        )
        by_number = {
            number: reply
            for group, replies in zip(groups, answered, strict=True)
            for number, reply in zip(group, replies, strict=True)
        }
        return [by_number[number] for number in range(len(calls))]

    async def _call_together(self, calls: Sequence[Call]) -> list[Reply]:
        found = await self._activate_all(calls)
        appends: list[Append] = []
        touched: list[tuple[int, Hosted, list[Command]]] = []
        replies: list[Reply] = []
        for number, call in enumerate(calls):
            taken = self._take(call, found.get(call.execution_id))
            replies.append(taken.reply)
            if taken.append is not None and taken.hosted is not None:
                appends.append(taken.append)
                touched.append((number, taken.hosted, taken.commands))
                taken.hosted.pending += 1
        if appends:
            self._conclude(touched, replies, await self._append(appends))
        return replies

    def _conclude(
        self,
        touched: list[tuple[int, Hosted, list[Command]]],
        replies: list[Reply],
        error: RillflowError | None,
    ) -> None:
        for number, hosted, commands in touched:
            hosted.pending -= 1
            execution_id = hosted.state.execution_id
            if error is None:
                self._errands.carry_out(execution_id, commands)
            else:
                self._forget(execution_id)
                replies[number] = reply_to_error(error)
        self._errands.flush()
        if error is None:
            for _, hosted, _ in touched:
                self._after(hosted)

    async def answers_arrived(self, answers: Sequence[DispatchAnswer]) -> None:
        """Take answers of dispatches; returns once they are durable.

        Raises:
            StoreError: They could not be written; deliver them again.
        """
        at_ms = self._clock.now_ms()
        calls: list[Call] = []
        for answer in answers:
            self._errands.outbound.learn(answer)
            event = self._errands.event_of(answer, at_ms)
            if event is not None:
                calls.append(Delivery(execution_id=answer.execution_id, event=event))
        for reply in await self.call_many(calls):
            if reply.error is not None and reply.kind.startswith("store."):
                raise StoreError(reply.error)

    async def settled(self, execution_id: ExecutionId) -> None:
        """Wait until an execution has ended and owes nobody a notice."""
        settled = self._settlements.setdefault(execution_id, asyncio.Event())
        hosted = await self._activate(execution_id)
        if hosted is None or not hosted.settled:
            await settled.wait()

    def has_settled(self, execution_id: ExecutionId) -> bool:
        """Tell whether an execution that is in memory has ended and owes nobody a notice."""
        hosted = self._find(execution_id)
        return hosted is not None and hosted.settled

    def _take(self, call: Call, found: Hosted | RillflowError | None) -> Taken:
        try:
            return self._answer(call, found)
        except RillflowError as error:
            return Taken(reply_to_error(error))
        except Exception:
            log.exception("call_failed", extra={"execution_id": call.execution_id})
            self._forget(call.execution_id)
            return Taken(reply_to_error(RillflowError("internal server error")))

    def _answer(self, call: Call, hosted: Hosted | RillflowError | None) -> Taken:
        if isinstance(hosted, RillflowError):
            raise hosted
        match call:
            case Submission():
                return self._submit(call)
            case Delivery():
                return self._deliver(call, hosted)
            case Query():
                return Taken(answer_query(call, hosted, self._clock.now_ms()))
            case Watch():
                return Taken(self._watch(call, hosted))
            case ResourceCall():
                return Taken(self._errands.outbound.hints.answer(call))
            case TrafficCall():
                return Taken(Reply(changed=self._traffic.take(call.subject, call.limit)))
            case _:
                assert_never(call)

    def _watch(self, call: Watch, hosted: Hosted | None) -> Reply:
        if hosted is None or hosted.over:
            return Reply(changed=False)
        if self._ownership.is_elsewhere(call.execution_id):
            return Reply(changed=False, error="elsewhere", kind=ELSEWHERE)
        self.watchers.watch(call.watcher, call.execution_id)
        return Reply()

    def _find(self, execution_id: ExecutionId) -> Hosted | None:
        return self._hot.get(execution_id) or self._ended.get(execution_id)

    def _submit(self, call: Submission) -> Taken:
        if self._find(call.execution_id) is not None:
            return Taken(Reply(changed=False))
        self._errands.outbound.hints.admit(call)
        event = call.event
        plan = self._plans.ready(event.definition_id)
        if plan is None:
            raise StoreError(f"definition {event.definition_id} is not stored")
        state, handled = machine.submit(plan, event)
        hosted = Hosted(plan, state, written=0)
        self._hot.put(event.execution_id, hosted)
        new = NewExecution(
            execution_id=event.execution_id,
            business=call.business,
            feature=call.feature,
            partition=listing_partition(event.execution_id),
            definition_id=event.definition_id,
            submitted_at_ms=event.at_ms,
            dedicated=event.dedicated,
            parent_id=event.parent.execution_id if event.parent else None,
            idempotency_key=call.idempotency_key,
            request_digest=call.request_digest,
        )
        append = self._append_of(hosted, event, new=new, was_over=False, was_settled=False)
        return Taken(Reply(), append, hosted, handled.commands)

    def _deliver(self, call: Delivery, hosted: Hosted | None) -> Taken:
        execution_id, event = call.execution_id, call.event
        if hosted is None:
            raise unknown_execution(execution_id, event)
        if self._ownership.is_elsewhere(execution_id) and not hosted.settled:
            return Taken(Reply(changed=False, error="elsewhere", kind=ELSEWHERE))
        if call.hint_s > 0 and isinstance(event, CallbackReceived):
            self._errands.outbound.learn_of(execution_id, event.task, call.hint_s)
        was_over, was_settled = hosted.over, hosted.settled
        handled = self._handle(hosted.plan, hosted.state, event)
        if not handled.changed:
            return Taken(Reply(changed=False))
        if was_settled and not hosted.settled:
            if self._ownership.is_elsewhere(execution_id):
                # What begins anew belongs to its own actor, which starts from the store.
                self._forget(execution_id)
                self._ownership.release(execution_id)
                return Taken(Reply(changed=False, error="elsewhere", kind=ELSEWHERE))
            self._ended.drop(execution_id)
            self._hot.put(execution_id, hosted)
        append = self._append_of(hosted, event, was_over=was_over, was_settled=was_settled)
        return Taken(Reply(), append, hosted, handled.commands)

    def _append_of(
        self,
        hosted: Hosted,
        event: Event,
        *,
        was_over: bool,
        was_settled: bool,
        new: NewExecution | None = None,
    ) -> Append:
        state = hosted.state
        hosted.written += 1
        status, closing, snapshot = None, None, None
        if hosted.settled and not was_settled:
            closing = Closing(
                status=state.status.name.lower(),
                code=state.invoke.code,
                finished_at_ms=event.at_ms,
            )
            snapshot = codec.encode_state(state)
        elif hosted.over != was_over or new is not None:
            status = state.status.name.lower()
        return Append(
            execution_id=state.execution_id,
            partition=self._ownership.scope_of(state.execution_id),
            epoch=self._ownership.epoch_of(state.execution_id),
            first_seq=hosted.written,
            records=(codec.encode_event(event),),
            new=new,
            status=status,
            closing=closing,
            snapshot=snapshot,
            snapshot_seq=hosted.written if snapshot else 0,
        )

    async def _append(self, appends: list[Append]) -> RillflowError | None:
        try:
            await self._store.append(appends)
        except FencedError as error:
            log.warning("fenced", extra={"appends": len(appends)})
            self._on_fenced()
            return error
        except StoreError as error:
            log.exception("append_failed", extra={"appends": len(appends)})
            return error
        return None

    def _after(self, hosted: Hosted) -> None:
        execution_id = hosted.state.execution_id
        if hosted.over:
            self.watchers.ended(execution_id)
        if hosted.settled and hosted.pending == 0:
            self._hot.drop(execution_id)
            self._ended.put(execution_id, hosted)
            if execution_id in self._settlements:
                self._settlements.pop(execution_id).set()

    def _forget(self, execution_id: ExecutionId) -> None:
        self._hot.drop(execution_id)
        self._ended.drop(execution_id)

    # -- activation -----------------------------------------------------------------

    async def _activate_all(
        self, calls: Sequence[Call]
    ) -> dict[ExecutionId, Hosted | RillflowError | None]:
        found: dict[ExecutionId, Hosted | RillflowError | None] = {}
        for call in calls:
            execution_id = call.execution_id
            if isinstance(call, ResourceCall | TrafficCall):
                continue
            if isinstance(call, Submission):
                if self._plans.ready(call.event.definition_id) is None:
                    await self._ready_plan(call.event.definition_id)
                continue
            hosted = self._find(execution_id)
            found[execution_id] = hosted or await self._activate_safely(execution_id)
        return {each: self._find(each) or hosted for each, hosted in found.items()}

    async def _ready_plan(self, definition_id: str) -> None:
        try:
            await self._plans.get(definition_id)
        except (DefinitionError, StoreError):
            log.exception("definition_unusable", extra={"definition_id": definition_id})

    async def _activate_safely(self, execution_id: ExecutionId) -> Hosted | RillflowError | None:
        try:
            return await self._activate(execution_id)
        except RillflowError as error:
            log.exception("activation_failed", extra={"execution_id": execution_id})
            return error

    async def _activate(self, execution_id: ExecutionId) -> Hosted | None:
        hosted = self._find(execution_id)
        if hosted is not None:
            return hosted
        loading = self._loading.get(execution_id)
        if loading is None:
            loading = asyncio.ensure_future(self._load(execution_id))
            self._loading[execution_id] = loading
            loading.add_done_callback(lambda _: self._loading.pop(execution_id, None))
        return await asyncio.shield(loading)

    async def _load(self, execution_id: ExecutionId) -> Hosted | None:
        stored = await self._store.load(execution_id)
        if stored is None:
            return None
        plan = await self._plans.get(stored.definition_id)
        hosted = replay(plan, stored)
        if self._ownership.is_elsewhere(execution_id):
            if not hosted.settled:
                return hosted
            await self._ownership.adopt(execution_id)
        if hosted.settled:
            self._ended.put(execution_id, hosted)
            return hosted
        self._hot.put(execution_id, hosted)
        if execution_id in self._unresumed:
            self._unresumed.discard(execution_id)
            self._errands.carry_out(execution_id, hosted.outstanding())
            self._errands.flush()
        return hosted

    async def _recover(self) -> None:
        if self._respawn is not None:
            apart = [DEDICATED_LISTING + p for p in self._partitions]
            for execution_id in await self._store.unfinished(apart):
                await self._respawn(execution_id)
        for execution_id in sorted(self._unresumed):
            await self._activate_safely(execution_id)

    # -- timers ---------------------------------------------------------------------

    async def _timers_due(self, timers: list[Timer]) -> None:
        at_ms = self._clock.now_ms()
        calls: list[Call] = [
            Delivery(
                execution_id=timer.execution_id,
                event=TimerFired(
                    at_ms=max(at_ms, timer.due_ms),
                    kind=timer.kind,
                    task=timer.task,
                    due_ms=timer.due_ms,
                ),
            )
            for timer in timers
        ]
        for timer, reply in zip(timers, await self.call_many(calls), strict=True):
            if reply.kind.startswith("store."):
                asyncio.get_running_loop().call_later(1.0, self._timers.set, timer)


def _has_key(call: Call) -> bool:
    return isinstance(call, Submission) and call.idempotency_key is not None
