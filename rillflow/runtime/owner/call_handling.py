"""Handling one call in memory: what is to be replied, written and carried out.

`execution_owner.py` calls it for each call of a batch; events go to `core/machine.py`.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import assert_never

import msgspec

from rillflow.core import machine
from rillflow.core.commands import Command
from rillflow.core.events import CallbackReceived, TimerFired
from rillflow.core.machine import Turns
from rillflow.core.tasks.kept_outputs import is_too_long, within_limit
from rillflow.core.tasks.waiting import resource_of
from rillflow.errors import ConflictError, CrashedError, RillflowError, SetApartError
from rillflow.jsontypes import JsonObject, encode_json
from rillflow.language.versions import CURRENT
from rillflow.ports.clock import Clock
from rillflow.ports.executions import (
    ELSEWHERE,
    Call,
    Delivery,
    Query,
    Reply,
    ResourceCall,
    Submission,
    TrafficCall,
    Watch,
    reply_to_error,
)
from rillflow.ports.storage.store import Append
from rillflow.runtime.activation.active_execution import ActiveExecution, Stage
from rillflow.runtime.activation.cache import ActivationCache
from rillflow.runtime.activation.journal import (
    GOING_ON,
    JournalRows,
    OwnerEpoch,
    Progress,
    progress_of,
    row_of,
)
from rillflow.runtime.activation.leases import Leased, usable
from rillflow.runtime.backpressure.busy_functions import Traffic
from rillflow.runtime.commands.dispatching import Dispatching
from rillflow.runtime.commands.subflows import StoreLimits
from rillflow.runtime.completion.server import CompletionServer
from rillflow.runtime.crashes.crash_history import CrashHistory, step_of
from rillflow.runtime.crashes.quarantine import Quarantine
from rillflow.runtime.hooks.chain import HookChain
from rillflow.runtime.owner import queries
from rillflow.runtime.owner.callback_limits import LIMITED, CallbackLimits
from rillflow.runtime.owner.mapping_log import MappingLog
from rillflow.runtime.owner.recovery import SEEING_TO, Recovery
from rillflow.runtime.owner.views import Views
from rillflow.runtime.process.crash_log import log_crash


class CallOutcome(msgspec.Struct, frozen=True):
    """The result of a call in memory: its reply, and what to write and do before it is sent.

    ``at_ms`` is the time of the event that gave the commands; ``over`` tells whether the execution
    ended with it. ``execution`` is the execution that the reply is about, and ``watch`` a
    submission whose sender waits for the end. ``is_callback`` tells whether the event was one.
    """

    reply: Reply
    execution: ActiveExecution | None = None
    append: Append | None = None
    commands: list[Command] = []
    at_ms: int = 0
    over: bool = False
    watch: Submission | None = None
    is_callback: bool = False


def appends_under_way(batch: Sequence[CallOutcome]) -> set["asyncio.Future[None]"]:
    """Return the appends that must be over before replies that wrote nothing may be sent."""
    return {
        outcome.execution.append_under_way
        for outcome in batch
        if outcome.append is None and outcome.execution and outcome.execution.append_under_way
    }


def reply_of(outcome: CallOutcome, error: RillflowError | None) -> Reply:
    """Return the reply to send; ``error`` is the error of the append."""
    if outcome.append is not None:
        return outcome.reply if error is None else reply_to_error(error)
    if outcome.execution is not None and outcome.execution.is_distrusted:
        return reply_to_error(ConflictError("what was read could not be written"))
    return outcome.reply


class CallHandling:
    """Handles the calls of one owner; it does not write and does not carry out commands."""

    def __init__(  # noqa: PLR0913 - the ports it joins
        self,
        *,
        clock: Clock,
        ownership: OwnerEpoch,
        activations: ActivationCache,
        rows: JournalRows,
        recovery: Recovery,
        quarantine: Quarantine,
        crashes: CrashHistory,
        outbound: Dispatching,
        watchers: CompletionServer,
        views: Views,
        outputs_max_bytes: int,
        take_store: StoreLimits,
        turns: Turns,
        guards: HookChain,
    ) -> None:
        self._ownership = ownership
        self._activations = activations
        self._rows = rows
        self._recovery = recovery
        self._quarantine = quarantine
        self._crashes = crashes
        self._outbound = outbound
        self._watchers = watchers
        self._views = views
        self._outputs_max_bytes = outputs_max_bytes
        self._submitted = partial(machine.submit, turns=turns)
        self._handle = guards.handling(partial(machine.handle, turns=turns))
        self._traffic = Traffic(clock)
        self._callback_limits = CallbackLimits(clock, take_store)
        self._rules = MappingLog(clock)

    def refuses(self, call: Call) -> bool:
        """Tell whether a call is refused by its length, as far as memory tells."""
        if not isinstance(call, Delivery):
            return False
        execution = self._activations.peek(call.execution_id)
        return execution is not None and is_too_long(
            execution.state, call.event, self._outputs_max_bytes
        )

    def take(self, leased: Leased, call: Call) -> CallOutcome:
        """Handle a call with what was leased for it; an error concerns no other call."""
        execution_id = call.execution_id
        execution = leased.get(execution_id)
        if isinstance(call, Delivery) and isinstance(call.event, SEEING_TO):
            self._recovery.called(execution_id, call.event)
        step = step_of(call)
        self._crashes.begin(execution_id, step)
        if isinstance(execution, RillflowError):
            # Not raised: its traceback would hold this frame, which holds it, until a collection.
            return self._refusal(call, None, self._quarantine.explain(execution_id, execution))
        try:
            found = usable(execution)
            if isinstance(call, Delivery):
                outcome = self._receive(call, found)
            else:
                outcome = self._answer(call, found, leased)
        except RillflowError as error:
            return self._refusal(call, execution, self._quarantine.explain(execution_id, error))
        except Exception as error:  # noqa: BLE001 - one execution must not stop the others
            execution = leased.get(execution_id)
            if isinstance(execution, ActiveExecution):
                self._recovery.crashed(execution_id, error)
                self._activations.distrust(execution)
            else:
                log_crash("call_failed", execution_id, error)
            return CallOutcome(reply_to_error(CrashedError("internal server error")))
        if self._crashes.suspects:
            self._crashes.survived(execution_id, step)
        return outcome

    def _answer(
        self,
        call: Submission | Query | Watch | ResourceCall | TrafficCall,
        execution: ActiveExecution | None,
        leased: Leased,
    ) -> CallOutcome:
        match call:
            case Submission():
                return self._submit(call, leased)
            case Query():
                return self._query(call, execution)
            case Watch():
                return CallOutcome(self._watch(call, execution), execution)
            case ResourceCall():
                return CallOutcome(self._told(call))
            case TrafficCall():
                return CallOutcome(Reply(changed=self._traffic.take(call.subject, call.limit)))
            case _:
                assert_never(call)

    def _told(self, call: ResourceCall) -> Reply:
        """Answer what every owner is asked."""
        if call.kind == "room":
            waiting = self._outbound.waiting_for_room(call.service)
            return Reply(changed=False, body=encode_json(waiting))
        if call.kind != "quarantined":
            return self._outbound.hints.answer(call)
        held: JsonObject = dict(self._quarantine.listed())
        return Reply(changed=False, body=encode_json(held))

    def _query(self, call: Query, execution: ActiveExecution | None) -> CallOutcome:
        if call.callback is not None:
            return self._awaits(call.callback, execution)
        shown = self._quarantine.shown(call.execution_id)
        return CallOutcome(self._views.answer(call, execution, shown), execution)

    def _awaits(self, callback: CallbackReceived, execution: ActiveExecution | None) -> CallOutcome:
        """Tell whether a callback would be taken; one that is not is acknowledged as a delivery."""
        if execution is None:
            return CallOutcome(Reply(changed=False))
        plan, state = execution.plan, execution.state
        is_elsewhere = self._ownership.is_elsewhere(state.execution_id) and not execution.settled
        if is_elsewhere or machine.awaits_callback(plan, state, callback):
            return CallOutcome(Reply(changed=False, body=b"true"), execution)
        reply = Reply(changed=False, body=b"false")
        return CallOutcome(reply, execution, self._rows.confirmation_of(execution))

    def _watch(self, call: Watch, execution: ActiveExecution | None) -> Reply:
        if execution is None or execution.over:
            return Reply(changed=False, body=self._views.shown_with_end(execution, call.show))
        if self._ownership.is_elsewhere(call.execution_id):
            return Reply(changed=False, error="elsewhere", kind=ELSEWHERE)
        self._watchers.watch(call.watcher, call.execution_id, call.show)
        return Reply()

    def _submit(self, call: Submission, leased: Leased) -> CallOutcome:
        event = call.event
        if event.language > CURRENT:
            # From a replica of a later release, whose rules a replay there would follow.
            event = msgspec.structs.replace(event, language=CURRENT)
        known = self._activations.find(event.execution_id)
        if known is not None:
            return CallOutcome(Reply(changed=False), known)
        if self._outbound.hints.are_limiting:
            self._outbound.hints.admit(call)
        plan = self._activations.plans.ready(event.definition_id)
        if plan is None:
            raise ConflictError(f"definition {event.definition_id} has left memory")
        state, handled = self._submitted(plan, event)
        if handled.mapped:
            self._rules.note(state, handled.mapped)
        execution = ActiveExecution(plan, state, Stage.NEW)
        self._activations.admit(execution)
        leased[event.execution_id] = execution
        append = self._rows.append_of(execution, event, handled, Progress(), row_of(call))
        watch = call if call.watcher else None
        return CallOutcome(
            Reply(), execution, append, handled.commands, event.at_ms, execution.over, watch
        )

    def _receive(self, call: Delivery, execution: ActiveExecution | None) -> CallOutcome:
        if execution is not None:
            if isinstance(call.event, LIMITED):
                kept = self._callback_limits.bounded(execution, call.event)
                if kept is None:
                    return self._repetition(call, execution)
                self._callback_limits.refuse(execution, kept)
                if kept is not call.event:
                    call = msgspec.structs.replace(call, event=kept)
            if execution.is_shared:
                execution.have_own_state()
        return self._deliver(call, execution)

    def _deliver(self, call: Delivery, execution: ActiveExecution | None) -> CallOutcome:
        execution_id = call.execution_id
        if execution is None:
            raise queries.unknown_execution(execution_id, call.event)
        event = within_limit(execution.plan, execution.state, call.event, self._outputs_max_bytes)
        if self._ownership.is_elsewhere(execution_id) and not execution.settled:
            return CallOutcome(Reply(changed=False, error="elsewhere", kind=ELSEWHERE))
        hinting = event if call.hint_s > 0 and isinstance(event, CallbackReceived) else None
        called = resource_of(execution.plan, execution.state, hinting.task) if hinting else None
        before = progress_of(execution) if execution.over else GOING_ON
        handled = self._handle(execution.plan, execution.state, event)
        if not handled.changed:
            return self._repetition(call, execution)
        if handled.mapped:
            self._rules.note(execution.state, handled.mapped)
        if hinting is not None and handled.refusal is None:
            # Only of a callback that counts: who knows the id of an execution that has ended
            # could otherwise have its functions left alone for hours.
            # Without the seal of its attempt it need not be from the function.
            is_unsure = not hinting.sealed_attempt
            self._outbound.learn_of(
                execution_id, hinting.task, call.hint_s, called, for_service_only=is_unsure
            )
        if before.settled and not execution.settled:
            usable(execution)  # its last append may have failed while this was interrupted
            if self._ownership.is_elsewhere(execution_id):
                # The restarted execution belongs to its own actor, which starts from the store.
                self._activations.distrust(execution)
                self._ownership.release(execution_id)
                return CallOutcome(Reply(changed=False, error="elsewhere", kind=ELSEWHERE))
            self._activations.revive(execution)
        append = self._rows.append_of(execution, event, handled, before)
        reply = reply_to_error(handled.refusal) if handled.refusal else Reply()
        commands, over = handled.commands, execution.over
        return CallOutcome(
            reply,
            execution,
            append,
            commands,
            event.at_ms,
            over,
            is_callback=isinstance(event, CallbackReceived),
        )

    def _refusal(
        self, call: Call, execution: ActiveExecution | None, error: RillflowError
    ) -> CallOutcome:
        """Refuse a call; a delivery only if memory is valid, since it is not made again."""
        if isinstance(error, SetApartError):
            return CallOutcome(self._about_set_apart(call, error))
        reply = reply_to_error(error)
        if not isinstance(execution, ActiveExecution):
            return CallOutcome(reply)
        is_final = isinstance(call, Delivery) and not isinstance(call.event, TimerFired)
        append = self._rows.confirmation_of(execution) if is_final else None
        return CallOutcome(reply, execution, append)

    def _about_set_apart(self, call: Call, error: SetApartError) -> Reply:
        if self._ownership.is_elsewhere(call.execution_id) and not isinstance(call, Query):
            return Reply(changed=False, error="elsewhere", kind=ELSEWHERE)
        if not isinstance(call, Watch):
            return queries.answer_set_apart(call, error)
        self._watchers.watch(call.watcher, call.execution_id, call.show)
        return Reply()

    def _repetition(self, call: Delivery, execution: ActiveExecution) -> CallOutcome:
        """Acknowledge an event that is ignored; its sender does not deliver it again."""
        if isinstance(call.event, TimerFired):
            return CallOutcome(Reply(changed=False), execution)
        return CallOutcome(Reply(changed=False), execution, self._rows.confirmation_of(execution))
