"""The timers of all executions of an owner: one heap, one sleeping task, and tasks that fire.

Used by `runtime/commands/runner.py`, `runtime/owner/execution_owner.py` and
`runtime/owner/recovery.py`.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from itertools import count
from typing import Final, NamedTuple

from rillflow.core.agenda import REMAINING
from rillflow.core.events import TimerFired
from rillflow.ids import ExecutionId, TaskName, workspace_of
from rillflow.ports.clock import Clock
from rillflow.ports.executions import Delivery
from rillflow.task_set import TaskSet

MOST_AT_ONCE: Final = 1000
MOST_DEAD: Final = 64
"""Timers of ended executions that may stay in the heap while they are not half of it."""


class Timer(NamedTuple):
    """What a timer is for; ``due_ms``, in milliseconds since the epoch, identifies it."""

    due_ms: int
    execution_id: ExecutionId
    kind: str
    task: TaskName


class _Entry(NamedTuple):
    """One timer in the heap, by its monotonic due time."""

    due_s: float
    number: int
    timer: Timer


class Timers:
    """Fires timers in batches when they are due, one batch of each lane at a time.

    A batch is over when all of its events are durable. So the timers of executions that must be
    read first, or of another workspace, are in another lane: what they take holds up none but their
    own.

    Single timers are not cancelled, only all timers of an execution: what a timer was set for may
    be over when it fires, and the core recognizes that by the due time. Timers use monotonic time,
    so a jump of the wall clock neither fires nor delays any. Only for a restored timer is the
    remaining time read off the wall clock, once. A timer whose firing raises is passed to
    ``failed``.
    """

    def __init__(
        self,
        clock: Clock,
        fire: Callable[[list[Timer]], Awaitable[None]],
        failed: Callable[[Timer, Exception], None],
        lane_of: Callable[[ExecutionId], Hashable] = workspace_of,
    ) -> None:
        """Fire by ``fire``; timers of executions of the same ``lane_of`` are fired together."""
        self._clock = clock
        self._fire = fire
        self._failed = failed
        self._lane_of = lane_of
        self._lanes: dict[Hashable, deque[Timer]] = {}
        self._firing = TaskSet[None]()
        self._heap: list[_Entry] = []
        self._set: dict[ExecutionId, set[Timer]] = {}
        self._live = 0
        self._numbers = count()
        self._sooner = asyncio.Event()
        self._sleeper: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return self._live

    def set(self, timer: Timer, *, after_s: float) -> None:
        """Add a timer that is due some seconds from now."""
        entry = _Entry(self._clock.monotonic_s() + after_s, next(self._numbers), timer)
        timers = self._set.setdefault(timer.execution_id, set())
        self._live += timer not in timers
        timers.add(timer)
        heapq.heappush(self._heap, entry)
        if self._heap[0] is entry:
            self._sooner.set()

    def restore(self, timer: Timer, *, at_most_s: float) -> None:
        """Add a timer that an earlier owner may have set; an existing one stays as it is.

        It waits for as long as the wall clock says now, but no longer than ``at_most_s``: the clock
        may be wrong, or may have been wrong when the timer was set.
        """
        if timer not in self._set.get(timer.execution_id, ()):
            wait_s = (timer.due_ms - self._clock.now_ms()) / 1000
            self.set(timer, after_s=min(wait_s, at_most_s))

    def forget(self, execution_id: ExecutionId) -> None:
        """Remove the timers of an execution that has ended."""
        self._live -= len(self._set.pop(execution_id, ()))
        if len(self._heap) > 2 * self._live + MOST_DEAD:
            self._heap = [entry for entry in self._heap if self._is_set(entry)]
            heapq.heapify(self._heap)

    def _is_set(self, entry: _Entry) -> bool:
        return entry.timer in self._set.get(entry.timer.execution_id, ())

    def start(self) -> None:
        """Start firing."""
        self._sleeper = asyncio.create_task(self._run(), name="timers")

    async def stop(self) -> None:
        """Stop firing; the remaining timers are left to the next owner."""
        if self._sleeper is not None:
            self._sleeper.cancel()
            await asyncio.gather(self._sleeper, return_exceptions=True)
        await self._firing.stop()

    async def _run(self) -> None:
        while True:
            due = self._take_due()
            if due:
                for timer in due:
                    self._queue(timer)
                await asyncio.sleep(0)
                continue
            self._sooner.clear()
            try:
                async with asyncio.timeout(self._sleep_s()):
                    await self._sooner.wait()
            except TimeoutError:
                continue

    def _queue(self, timer: Timer) -> None:
        # Those of wide executions are fired alone: each may have left memory before its turn.
        is_wide = timer.kind == REMAINING
        name = timer.execution_id if is_wide else self._lane_of(timer.execution_id)
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = deque()
            self._firing.start(self._fire_lane(name, lane))
        lane.append(timer)

    async def _fire_lane(self, name: Hashable, lane: deque[Timer]) -> None:
        """Fire what is due in a lane, and what comes due meanwhile."""
        try:
            while lane:
                await self._fire_all([lane.popleft() for _ in range(min(len(lane), MOST_AT_ONCE))])
        finally:
            del self._lanes[name]

    async def _fire_all(self, due: list[Timer]) -> None:
        """Fire timers together, or one by one if they fail together."""
        try:
            await self._fire(due)
        except Exception as error:  # noqa: BLE001 - one timer must not stop the others
            if len(due) == 1:
                self._failed(due[0], error)
                return
            for timer in due:
                await self._fire_all([timer])

    def _take_due(self) -> list[Timer]:
        now_s = self._clock.monotonic_s()
        due: list[Timer] = []
        while self._heap and self._heap[0].due_s <= now_s and len(due) < MOST_AT_ONCE:
            entry = heapq.heappop(self._heap)
            if self._is_set(entry):
                due.append(entry.timer)
                self._take_off(entry.timer)
        return due

    def _take_off(self, timer: Timer) -> None:
        timers = self._set[timer.execution_id]
        timers.discard(timer)
        self._live -= 1
        if not timers:
            del self._set[timer.execution_id]

    def _sleep_s(self) -> float | None:
        """Return the seconds until the first timer, None if there is none."""
        if not self._heap:
            return None
        return max(self._heap[0].due_s - self._clock.monotonic_s(), 0)


def firing_of(timer: Timer, now_ms: int) -> Delivery:
    """Build the call that fires a timer; its event is never earlier than the due time."""
    event = TimerFired(
        at_ms=max(now_ms, timer.due_ms), kind=timer.kind, task=timer.task, due_ms=timer.due_ms
    )
    return Delivery(execution_id=timer.execution_id, event=event)
