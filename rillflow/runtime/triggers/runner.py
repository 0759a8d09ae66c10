"""Fires the cron triggers of some partitions: one heap of due times and one sleeping task.

It learns of changes from the revision in the store, which it reads once a second, and from the row
of a trigger, which it reads with each firing. A firing is a submission whose idempotency key is
made of the trigger and the scheduled time, so a second owner, or a repetition after a crash, starts
nothing twice: nothing here has to be exclusive.

Used by `runtime/triggers/start.py`.
"""

import asyncio
import heapq
import logging
from collections.abc import Collection, Mapping, Sequence
from itertools import count
from typing import Final, TypeAlias

import msgspec

from rillflow.errors import RillflowError
from rillflow.ports.clock import Clock
from rillflow.ports.executions import WaitableExecutions
from rillflow.ports.storage.store import Store
from rillflow.ports.triggers import TriggerRow
from rillflow.runtime.triggers.ahead import (
    AHEAD_MS,
    MOST_AHEAD,
    PREPARED_TOGETHER,
    Ahead,
    FiringAhead,
    StartTime,
    until_ms,
)
from rillflow.runtime.triggers.changes import LOOK_S, TriggerChanges
from rillflow.runtime.triggers.firing import ActiveTrigger, Firing, TriggerTime, paused
from rillflow.runtime.triggers.firing_rates import FiringRates, in_turn, workspace_of_row
from rillflow.runtime.triggers.log_room import LogRoom
from rillflow.runtime.triggers.measuring import TriggerMeters
from rillflow.runtime.triggers.submission_options import GroupSubmitter
from rillflow.runtime.triggers.tracing import TriggerSpans
from rillflow.task_set import TaskSet
from rillflow.telemetry.meters import Meters
from rillflow.triggers.overlap import Overlap
from rillflow.triggers.schedule import partition_of_trigger, plan
from rillflow.triggers.spec import CRON

log = logging.getLogger("rillflow.triggers")

GROUPS_AT_ONCE: Final = 3
"""One is read, one handled and one written at a time; with more, all would end with the last."""
TOGETHER: Final = 128
"""Triggers that fire in one group."""
GROUP_S: Final = 0.1
"""For so long a group that fires holds up others: a submission may take long."""
PAUSE_S: Final = 1.0
GATHER_S: Final = 1.0
"""For so long progress is gathered: a write for each few would hold up those of executions."""
SHORTEST_S: Final = 0.001
"""The shortest sleep: the clock tells milliseconds."""
END_S: Final = 2.0
"""How long ``stop`` waits for firings under way; whoever comes next repeats them."""


Entry: TypeAlias = tuple[int, int, ActiveTrigger]
"""When a trigger is due, a number that keeps the order of equals, and the trigger."""
Stored: TypeAlias = Mapping[str, tuple[TriggerRow, str]]
"""Triggers as the store has them now, with their contexts."""


class TriggerRunner:
    """Fires the cron triggers of its partitions, until stopped."""

    def __init__(  # noqa: PLR0913 - the parts that it joins
        self,
        *,
        store: Store,
        submissions: GroupSubmitter,
        executions: WaitableExecutions,
        clock: Clock,
        partitions: Collection[int],
        meters: Meters | None = None,
        spans: TriggerSpans | None = None,
        ahead: Ahead | None = None,
    ) -> None:
        """Fire by ``submissions``, and ``ahead`` where many triggers are due at one time."""
        self._meters = TriggerMeters(meters or Meters(""), spans)
        self._store = store
        self._clock = clock
        self._log_room = LogRoom(clock)
        self._partitions = frozenset(partitions)
        self._firing = Firing(
            store=store,
            submissions=submissions,
            executions=executions,
            clock=clock,
            meters=self._meters,
        )
        self._ahead = ahead and FiringAhead(ahead, self._firing, store=store, clock=clock)
        self._looked_ms = 0
        """Times up to here have been looked at, whether executions are prepared for them."""
        self._rates = FiringRates(clock)
        self._changes = TriggerChanges(store, self._learn)
        self._triggers: dict[str, ActiveTrigger] = {}
        self._heap: list[Entry] = []
        self._numbers = count()
        self._sooner = asyncio.Event()
        self._dirty: dict[str, ActiveTrigger] = {}
        self._has_dirty = asyncio.Event()
        self._groups = asyncio.Semaphore(GROUPS_AT_ONCE)
        self._tasks = TaskSet[None]()
        self._loops: list[asyncio.Task[None]] = []

    def __len__(self) -> int:
        return len(self._triggers)

    def start(self) -> None:
        """Begin to fire."""
        self._loops = [
            asyncio.create_task(self._run(), name="triggers"),
            asyncio.create_task(self._store_progress(), name="trigger progress"),
        ]

    async def stop(self) -> None:
        """Fire nothing more, and store what was fired."""
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        await self._tasks.wait(END_S)
        await self._tasks.stop()
        if self._dirty:
            await self._write_progress()

    async def _run(self) -> None:
        looked_s = -LOOK_S
        while True:
            if self._clock.monotonic_s() - looked_s >= LOOK_S:
                await self._changes.look()
                looked_s = self._clock.monotonic_s()
            due = self._take_due()
            for first in range(0, len(due), TOGETHER):
                await self._groups.acquire()
                self._tasks.start(self._fire_group(due[first : first + TOGETHER]))
            soon = self._take_soon()
            if soon:
                self._tasks.start(self._fire_ahead(self._looked_ms, soon))
            if not due:
                await self._sleep(looked_s + LOOK_S - self._clock.monotonic_s())

    async def _sleep(self, longest_s: float) -> None:
        self._sooner.clear()
        wait_s = longest_s
        if self._heap:
            next_ms = self._heap[0][0]
            if self._ahead is not None and next_ms > self._looked_ms:
                next_ms -= AHEAD_MS
            wait_s = min(wait_s, (next_ms - self._clock.now_ms()) / 1000)
        try:
            async with asyncio.timeout(max(wait_s, SHORTEST_S)):
                await self._sooner.wait()
        except TimeoutError:
            return

    def _learn(self, row: TriggerRow) -> None:
        """Take a trigger as it is in the store now."""
        if row.type != CRON or partition_of_trigger(row.id) not in self._partitions:
            return
        known = self._triggers.pop(row.id, None)
        if row.is_removed or row.is_paused:
            return
        try:
            trigger = ActiveTrigger(row, self._clock.now_ms())
        except (RillflowError, msgspec.MsgspecError) as error:
            log.error("trigger_not_read", extra={"trigger": row.id, "reason": str(error)})  # noqa: TRY400 - the reason says all
            return
        if known is not None and known.position_ms > trigger.position_ms:
            trigger.position_ms, trigger.progress = known.position_ms, known.progress
        self._triggers[row.id] = trigger
        if trigger.progress.queued_ms:
            self._wait_for_last(trigger)
        self._set(trigger)

    def _set(self, trigger: ActiveTrigger, *, after_ms: int = 0) -> None:
        """Have a trigger looked at when it is due next."""
        now_ms = self._clock.now_ms()
        following = trigger.schedule.next_after(trigger.position_ms)
        if following is None:
            return
        due_ms = trigger.schedule.due_ms(trigger.id, following)
        heapq.heappush(self._heap, (max(due_ms, now_ms + after_ms), next(self._numbers), trigger))
        self._sooner.set()

    def _take_due(self) -> list[ActiveTrigger]:
        now_ms = self._clock.now_ms()
        due = []
        while self._heap and self._heap[0][0] <= now_ms:
            _, _, trigger = heapq.heappop(self._heap)
            if self._triggers.get(trigger.id) is not trigger:
                continue
            workspace = workspace_of_row(trigger.row)
            pause_ms = self._rates.pause_ms(workspace)
            if pause_ms:
                heapq.heappush(self._heap, (now_ms + pause_ms, next(self._numbers), trigger))
            else:
                self._rates.count(workspace, 1)
                due.append(trigger)
        return in_turn(due)

    def _take_soon(self) -> list[ActiveTrigger]:
        """Take the triggers that are due next, if executions are worth preparing for that time."""
        now_ms = self._clock.now_ms()
        at_ms = self._heap[0][0] if self._heap else 0
        if self._ahead is None or not max(now_ms, self._looked_ms) < at_ms <= now_ms + AHEAD_MS:
            return []
        self._looked_ms = at_ms
        taken: list[Entry] = []
        others: list[Entry] = []
        while self._heap and self._heap[0][0] == at_ms:
            entry = heapq.heappop(self._heap)
            if self._triggers.get(entry[2].id) is not entry[2]:
                continue
            fits = len(taken) < MOST_AHEAD and self._ahead.may_prepare(entry[2], at_ms)
            workspace = workspace_of_row(entry[2].row)
            if fits and not self._rates.pause_ms(workspace):
                self._rates.count(workspace, 1)
                taken.append(entry)
            else:
                others.append(entry)
        if len(taken) < self._ahead.least:
            for _, _, trigger in taken:
                self._rates.count(workspace_of_row(trigger.row), -1)
            taken, others = [], others + taken
        for entry in others:
            heapq.heappush(self._heap, entry)
        return in_turn(trigger for _, _, trigger in taken)

    async def _fire_ahead(self, at_ms: int, triggers: Sequence[ActiveTrigger]) -> None:
        """Prepare the executions of a time; what cannot be prepared is fired when it has come."""
        ahead = self._ahead
        moment = None
        try:
            moment = await ahead.start_time(at_ms, triggers) if ahead is not None else None
        except RillflowError as error:
            log.warning("triggers_not_read", extra={"reason": str(error)})
        for first in range(0, len(triggers), PREPARED_TOGETHER):
            group = triggers[first : first + PREPARED_TOGETHER]
            self._tasks.start(self._fire_group_ahead(at_ms, group, moment))

    async def _fire_group_ahead(
        self, at_ms: int, triggers: Sequence[ActiveTrigger], moment: StartTime | None
    ) -> None:
        due, outcomes = [], []
        try:
            if moment is not None and self._ahead is not None:
                stored = await self._store.triggers_now([each.id for each in triggers])
                triggers = [each for each in triggers if _is_current(each, stored)]
                due = [TriggerTime(each, stored[each.id][1].encode(), at_ms) for each in triggers]
                outcomes = await self._ahead.start(due, moment)
        except RillflowError as error:
            log.warning("triggers_not_read", extra={"reason": str(error)})
        except Exception:
            log.exception("triggers_failed")
        left = self._note_outcomes(due, outcomes) if outcomes else triggers
        if left:
            await until_ms(self._clock, at_ms)
            await self._groups.acquire()
            await self._fire_group(left)

    def _note_outcomes(
        self, due: Sequence[TriggerTime], outcomes: Sequence[RillflowError | bool]
    ) -> list[ActiveTrigger]:
        """Have triggers go on that were started together; return those that are to be alone."""
        left = []
        for (trigger, _, scheduled_ms), outcome in zip(due, outcomes, strict=True):
            if isinstance(outcome, RillflowError):
                self._delay(trigger, outcome)
            elif outcome:
                trigger.position_ms = max(trigger.position_ms, scheduled_ms)
                self._go_on(trigger)
            else:
                left.append(trigger)
        return left

    async def _fire_group(self, triggers: Sequence[ActiveTrigger]) -> None:
        try:
            stored = await self._store.triggers_now([each.id for each in triggers])
        except RillflowError as error:
            log.warning("triggers_not_read", extra={"reason": str(error)})
            for trigger in triggers:
                self._set(trigger, after_ms=int(trigger.backoff.next_s() * 1000))
        else:
            # One that has changed or was removed is left out; the next look shows how.
            known = [each for each in triggers if _is_current(each, stored)]
            alone: list[asyncio.Task[None]] = []
            together = self._tasks.start(self._fire_together(known, stored, alone))
            await asyncio.wait([together], timeout=GROUP_S)
            if alone:
                await asyncio.wait(alone, timeout=GROUP_S)
        finally:
            self._groups.release()

    async def _fire_together(
        self, triggers: Sequence[ActiveTrigger], stored: Stored, alone: list[asyncio.Task[None]]
    ) -> None:
        """Fire triggers that have one time due, and wait for nothing; the others ``alone``."""
        now_ms = self._clock.now_ms()
        due: list[TriggerTime] = []
        for trigger in triggers:
            planned = plan(trigger.schedule, trigger.id, trigger.position_ms, now_ms)
            if trigger.spec.overlap is Overlap.ALLOW and len(planned.fire_ms) == 1:
                context = stored[trigger.id][1].encode()
                due.append(TriggerTime(trigger, context, planned.fire_ms[0]))
            else:
                alone.append(self._tasks.start(self._fire_due(trigger, stored)))
        outcomes: Sequence[RillflowError | bool] = [False] * len(due)
        try:
            outcomes = await self._firing.start_together(due) if due else []
        except Exception:
            log.exception("triggers_failed")
        left = self._note_outcomes(due, outcomes)
        alone += [self._tasks.start(self._fire_due(each, stored)) for each in left]

    async def _fire_due(self, trigger: ActiveTrigger, stored: Stored) -> None:
        try:
            await self._fire_all(trigger, stored[trigger.id][1].encode())
        except RillflowError as error:
            self._delay(trigger, error)
        except Exception as error:
            log.exception("trigger_failed", extra={"trigger": trigger.id})
            trigger.note(error=type(error).__name__)
            self._again(trigger, after_ms=int(trigger.backoff.next_s() * 1000))
        else:
            self._go_on(trigger)

    def _delay(self, trigger: ActiveTrigger, error: RillflowError) -> None:
        """Have a trigger tried again, which cannot fire now."""
        self._warn_delayed(trigger, error)
        self._meters.count(CRON, "delayed")
        self._note(trigger)
        self._again(trigger, after_ms=int(trigger.backoff.next_s() * 1000))

    def _warn_delayed(self, trigger: ActiveTrigger, error: RillflowError) -> None:
        workspace, reason = workspace_of_row(trigger.row), str(error)
        self._log_room.warn(workspace, "trigger_delayed", trigger=trigger.id, reason=reason)

    def _go_on(self, trigger: ActiveTrigger) -> None:
        """Have a trigger that has fired wait for its next time."""
        trigger.backoff.reset()
        self._note(trigger)
        self._again(trigger)

    async def _fire_all(self, trigger: ActiveTrigger, context: bytes) -> None:
        due = plan(trigger.schedule, trigger.id, trigger.position_ms, self._clock.now_ms())
        # One was counted when it was taken.
        self._rates.count(workspace_of_row(trigger.row), max(len(due.fire_ms) - 1, 0))
        for scheduled_ms in due.fire_ms:
            await self._firing.fire(trigger, context, scheduled_ms)
            trigger.position_ms = scheduled_ms
            if trigger.progress.queued_ms:
                self._wait_for_last(trigger)
        trigger.position_ms = max(trigger.position_ms, due.position_ms)

    def _again(self, trigger: ActiveTrigger, *, after_ms: int = 0) -> None:
        if self._triggers.get(trigger.id) is trigger:
            self._set(trigger, after_ms=after_ms)

    def _wait_for_last(self, trigger: ActiveTrigger) -> None:
        if not trigger.waits:
            trigger.waits = True
            self._tasks.start(self._start_queued(trigger))

    async def _start_queued(self, trigger: ActiveTrigger) -> None:
        """Start the queued firing of a trigger once the execution before it has ended."""
        while trigger.progress.queued_ms and self._triggers.get(trigger.id) is trigger:
            try:
                if await self._firing.until_last_has_ended(trigger):
                    stored = await self._store.trigger(trigger.id)
                    if stored is None or stored[0].revision != trigger.revision:
                        break
                    queued_ms = trigger.progress.queued_ms
                    if queued_ms:  # else it was started meanwhile
                        await self._firing.start_noted(trigger, stored[1].encode(), queued_ms)
                        self._note(trigger)
            except Exception as error:
                if isinstance(error, RillflowError):
                    self._warn_delayed(trigger, error)
                else:
                    log.exception("trigger_failed", extra={"trigger": trigger.id})
                await paused(trigger.backoff)
        trigger.waits = False

    def _note(self, trigger: ActiveTrigger) -> None:
        self._dirty[trigger.id] = trigger
        self._has_dirty.set()

    async def _store_progress(self) -> None:
        while True:
            await self._has_dirty.wait()
            await asyncio.sleep(GATHER_S)
            self._has_dirty.clear()
            if not await self._write_progress():
                self._has_dirty.set()
                await asyncio.sleep(PAUSE_S)

    async def _write_progress(self) -> bool:
        dirty, self._dirty = self._dirty, {}
        try:
            rows = [trigger.row_of_progress() for trigger in dirty.values()]
            await self._store.note_trigger_progress(rows)
        except RillflowError as error:
            log.warning("trigger_progress_not_stored", extra={"reason": str(error)})
            self._dirty = dirty | self._dirty
            return False
        return True


def _is_current(trigger: ActiveTrigger, stored: Stored) -> bool:
    """Tell whether a trigger is in the store as it is in memory."""
    row, _ = stored.get(trigger.id, (None, ""))
    return row is not None and row.revision == trigger.revision
