"""One firing: what it does about an execution that still runs, and the submission.

Used by `runtime/triggers/runner.py`.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from rillflow.backoff import Backoff
from rillflow.core.events import CancelRequested
from rillflow.errors import RillflowError
from rillflow.ids import ExecutionId, parse_descriptor_id, workspace_of
from rillflow.ports.clock import Clock
from rillflow.ports.executions import Delivery, WaitableExecutions
from rillflow.ports.storage.store import Store
from rillflow.ports.triggers import TriggerProgress, TriggerRow
from rillflow.runtime.submission.groups import SubmissionRequest
from rillflow.runtime.triggers.log_room import LogRoom
from rillflow.runtime.triggers.measuring import TriggerMeters
from rillflow.runtime.triggers.progress import (
    LONGEST_REASON,
    Progress,
    decode_progress,
    encode_progress,
)
from rillflow.runtime.triggers.submission_options import (
    GroupSubmitter,
    is_not_now,
    options_of,
    was_started_before,
)
from rillflow.runtime.triggers.tracing import span_of
from rillflow.triggers.overlap import Decision, Overlap, decide
from rillflow.triggers.schedule import Schedule, key_of_firing
from rillflow.triggers.spec import CRON, TriggerSpec, decode_spec

log = logging.getLogger("rillflow.triggers")

CANCEL_S: Final = 10.0
"""How long a firing waits for the end of the execution that it has cancelled."""
WAIT_S: Final = 20.0
FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 30.0


class ActiveTrigger:
    """A trigger in memory, without its context."""

    __slots__ = (
        "backoff",
        "id",
        "learned_ms",
        "position_ms",
        "progress",
        "revision",
        "row",
        "schedule",
        "spec",
        "waits",
    )

    def __init__(self, row: TriggerRow, learned_ms: int) -> None:
        """Read a trigger from its row, as this process has learned of it at a time.

        Raises:
            msgspec.MsgspecError: The row cannot be read.
            CronError: The expression is not known any more.
        """
        self.id = row.id
        self.row = row
        self.learned_ms = learned_ms
        self.revision = row.revision
        self.spec: TriggerSpec = decode_spec(row.spec)
        self.schedule: Schedule = self.spec.schedule()
        self.position_ms = row.position_ms
        self.progress: Progress = decode_progress(row.progress)
        self.backoff = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        self.waits = False
        """Whether a task waits to start the queued firing."""

    def note(self, **changes: object) -> None:
        """Change the progress."""
        self.progress = msgspec.structs.replace(self.progress, **changes)

    def row_of_progress(self) -> TriggerProgress:
        """Return what the store is to know."""
        return TriggerProgress(
            id=self.id, position_ms=self.position_ms, progress=encode_progress(self.progress)
        )

    def started(self, scheduled_ms: int, execution_id: ExecutionId, **changes: object) -> None:
        """Note an execution that was started."""
        fired = self.progress.fired + 1
        self.note(
            fired=fired, last_ms=scheduled_ms, last_execution=execution_id, error="", **changes
        )


class TriggerTime(NamedTuple):
    """A scheduled time of a trigger that is due, with the context of the trigger."""

    trigger: ActiveTrigger
    context: bytes
    scheduled_ms: int


class Firing:
    """Fires times of triggers, one alone or many together."""

    def __init__(
        self,
        *,
        store: Store,
        submissions: GroupSubmitter,
        executions: WaitableExecutions,
        clock: Clock,
        meters: TriggerMeters,
    ) -> None:
        self._store = store
        self._meters = meters
        self._submissions = submissions
        self._executions = executions
        self._clock = clock
        self._log_room = LogRoom(clock)

    async def fire(self, trigger: ActiveTrigger, context: bytes, scheduled_ms: int) -> None:
        """Start the execution of a scheduled time, or do what the overlap policy says.

        Raises:
            RillflowError: It cannot be done now, and may be done later.
        """
        if trigger.spec.overlap is Overlap.ALLOW:
            await self.start(trigger, context, scheduled_ms)
            return
        if await self._was_fired(trigger, scheduled_ms):
            return
        last = trigger.progress.last_execution
        is_running = bool(last) and not await self._executions.wait(last, 0.0)
        has_queued = trigger.progress.queued_ms not in (0, scheduled_ms)
        decision = decide(trigger.spec.overlap, is_running=is_running, has_queued=has_queued)
        match decision:
            case Decision.SKIP:
                trigger.note(skipped=trigger.progress.skipped + 1)
                self._meters.count(CRON, "skipped")
            case Decision.QUEUE:
                trigger.note(queued_ms=scheduled_ms)
            case Decision.CANCEL_AND_START:
                await self._cancel(last)
                await self.start_noted(trigger, context, scheduled_ms)
            case Decision.START:
                await self.start_noted(trigger, context, scheduled_ms)

    async def start_noted(self, trigger: ActiveTrigger, context: bytes, scheduled_ms: int) -> None:
        """Start an execution that must not overlap the next one, also after a crash.

        The store knows of it before: whoever comes next starts it, or finds that it was started.

        Raises:
            RillflowError: It cannot be done now, and may be done later.
        """
        trigger.note(queued_ms=scheduled_ms)
        await self._store.note_trigger_progress([trigger.row_of_progress()])
        await self.start(trigger, context, scheduled_ms)

    async def start(self, trigger: ActiveTrigger, context: bytes, scheduled_ms: int) -> None:
        """Start the execution of a scheduled time; a refusal is noted.

        Raises:
            RillflowError: It cannot be done now, and may be done later.
        """
        asked = request_of(trigger, context, scheduled_ms)
        try:
            outcome: ExecutionId | RillflowError = await self._submissions.submit(*asked)
        except RillflowError as error:
            outcome = error.with_traceback(None)  # this frame keeps it
        self._take(trigger, scheduled_ms, outcome, self._clock.now_ms())

    async def start_together(self, due: Sequence[TriggerTime]) -> list[RillflowError | bool]:
        """Start the executions of scheduled times, with one message to each owner of some.

        Returns:
            For each whether it was dealt with, and nothing is left to be done; False if it is to
            be started alone. Or why it cannot be started now, and may be later.
        """
        asked = [request_of(*each) for each in due]
        outcomes = await self._submissions.submit_plain(asked, self._executions.call_many)
        return self.taken(due, outcomes)

    def taken(
        self, due: Sequence[TriggerTime], outcomes: Sequence[ExecutionId | RillflowError | None]
    ) -> list[RillflowError | bool]:
        """Note what has become of submissions; return what ``start_together`` does."""
        now_ms = self._clock.now_ms()
        done: list[RillflowError | bool] = []
        for each, outcome in zip(due, outcomes, strict=True):
            if outcome is None:
                done.append(False)
                continue
            try:
                self._take(each.trigger, each.scheduled_ms, outcome, now_ms)
            except RillflowError as error:
                done.append(error)
            else:
                done.append(True)
        return done

    def _take(
        self,
        trigger: ActiveTrigger,
        scheduled_ms: int,
        outcome: ExecutionId | RillflowError,
        now_ms: int,
    ) -> None:
        """Note what has become of a submission.

        Raises:
            RillflowError: It cannot be accepted now, and may be later.
        """
        queued = {"queued_ms": 0} if trigger.progress.queued_ms == scheduled_ms else {}
        if isinstance(outcome, RillflowError):
            if is_not_now(outcome):
                raise outcome
            trigger.note(error=str(outcome)[:LONGEST_REASON], **queued)
            if was_started_before(outcome):
                return
            self._meters.count(CRON, "refused")
            self._log_room.warn(
                workspace_of(trigger.row.descriptor_id),
                "trigger_refused",
                trigger=trigger.id,
                scheduled_ms=scheduled_ms,
                reason=str(outcome),
            )
            return
        trigger.started(scheduled_ms, outcome, **queued)
        key = key_of_firing(trigger.id, scheduled_ms)
        due_ms = trigger.schedule.due_ms(trigger.id, scheduled_ms)
        self._meters.started(trigger.row, key, outcome, due_ms, now_ms)
        if trigger.spec.overlap is Overlap.ALLOW:  # others wait for an end
            self._meters.late(now_ms - due_ms)

    async def until_last_has_ended(self, trigger: ActiveTrigger) -> bool:
        """Wait for the execution that a trigger has started last; False if it still runs.

        Raises:
            RillflowError: Its owner could not be asked.
        """
        last = trigger.progress.last_execution
        return not last or await self._executions.wait(last, WAIT_S)

    async def _was_fired(self, trigger: ActiveTrigger, scheduled_ms: int) -> bool:
        """Tell whether a firing was done before, by a process that has not stored it."""
        address = parse_descriptor_id(trigger.row.descriptor_id)
        key = key_of_firing(trigger.id, scheduled_ms)
        found = await self._store.find_by_idempotency_key(address.business, address.feature, key)
        if found is not None and trigger.progress.last_ms < scheduled_ms:
            trigger.started(scheduled_ms, found[0])
        return found is not None

    async def _cancel(self, execution_id: ExecutionId) -> None:
        event = CancelRequested(at_ms=self._clock.now_ms())
        reply = await self._executions.call(Delivery(execution_id=execution_id, event=event))
        try:
            reply.raise_for_error()
        except RillflowError as error:
            if is_not_now(error):
                raise
            # It has ended meanwhile, or is gone.
            fields = {"execution_id": execution_id, "reason": str(error)}
            log.info("cancel_refused", extra=fields)
        await self._executions.wait(execution_id, CANCEL_S)


def request_of(trigger: ActiveTrigger, context: bytes, scheduled_ms: int) -> SubmissionRequest:
    """Return the submission of a scheduled time."""
    key = key_of_firing(trigger.id, scheduled_ms)
    options = options_of(trigger.spec, key)._replace(
        link=span_of(key),
        # What was due later was fired by nobody before.
        is_new=scheduled_ms > trigger.learned_ms,
    )
    return SubmissionRequest(trigger.row.descriptor_id, context, options)


async def paused(backoff: Backoff) -> None:
    """Wait before the next try."""
    await asyncio.sleep(backoff.next_s())
