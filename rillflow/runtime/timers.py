"""Timers of all executions of a host: one heap, one sleeper."""

import asyncio
import heapq
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from rillflow.ids import ExecutionId, TaskName
from rillflow.ports.clock import Clock

LONGEST_SLEEP_S = 1.0


class Timer(NamedTuple):
    """One timer; it orders by the time it is due, milliseconds since the epoch."""

    due_ms: int
    execution_id: ExecutionId
    kind: str
    task: TaskName


class Timers:
    """Fires timers in batches when they come due.

    A timer is never taken back: what it was set for may be over when it fires, and
    the execution tells by the due time. The sleeper wakes at least once a second,
    so a jump of the clock neither fires everything nor freezes everything for long.
    """

    def __init__(self, clock: Clock, fire: Callable[[list[Timer]], Awaitable[None]]) -> None:
        self._clock = clock
        self._fire = fire
        self._heap: list[Timer] = []
        self._sooner = asyncio.Event()
        self._sleeper: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._heap)

    def set(self, timer: Timer) -> None:
        """Add a timer."""
        heapq.heappush(self._heap, timer)
        if self._heap[0] is timer:
            self._sooner.set()

    def start(self) -> None:
        """Begin firing."""
        self._sleeper = asyncio.create_task(self._run(), name="timers")

    async def stop(self) -> None:
        """Stop firing; what is left stays for the next owner."""
        if self._sleeper is not None:
            self._sleeper.cancel()
            await asyncio.gather(self._sleeper, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            due = self._take_due()
            if due:
                await self._fire(due)
                continue
            self._sooner.clear()
            try:
                await asyncio.wait_for(self._sooner.wait(), self._sleep_s())
            except TimeoutError:
                continue

    def _take_due(self) -> list[Timer]:
        now_ms = self._clock.now_ms()
        due: list[Timer] = []
        while self._heap and self._heap[0].due_ms <= now_ms and len(due) < 1000:
            due.append(heapq.heappop(self._heap))
        return due

    def _sleep_s(self) -> float:
        if not self._heap:
            return LONGEST_SLEEP_S
        wait_s = (self._heap[0].due_ms - self._clock.now_ms()) / 1000
        return min(max(wait_s, 0), LONGEST_SLEEP_S)
