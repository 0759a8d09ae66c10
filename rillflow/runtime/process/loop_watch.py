"""Measures how long turns of an event loop take, and what blocks it when one takes too long.

A loop has no hook to measure its turns, so a timer is set in the loop: its delay is the time for
which the loop was blocked. A thread checks at the same time, and records the stack of the loop's
thread when the timer is overdue.

Used by `actors`, `serve` and `serve/routes`.
"""

import asyncio
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import Final

from rillflow.ports.loops import LoopState

log = logging.getLogger("rillflow.loop_watch")

TICK_S: Final = 0.02
"""Interval of the timer; a turn is measured too short by up to this."""
SLOW_S: Final = 0.05
"""Turns above this are slow."""
LOOK_S: Final = 0.05
BUSY_S: Final = 0.5
"""The use of the processor is that of the last complete interval of this length."""
QUIET_S: Final = 10.0
"""All slow turns are counted; they are logged no more often than this."""
MINUTE_S: Final = 60
_SHOWN_FRAMES: Final = 6
_OF_THE_HOLD: Final = 0.8
"""What other threads computed explains a hold if it is this much of it.

A thread that computes and keeps the interpreter lock runs nearly all the time while the loop waits
for the lock. On a machine that is busy with others, this process gets less processor time than
that.
"""


class LoopWatch:
    """Measures the turns of the event loop in which it is started."""

    def __init__(
        self,
        process: str,
        *,
        clock_s: Callable[[], float] = time.perf_counter,
        cpu_s: Callable[[], float] = time.thread_time,
        process_cpu_s: Callable[[], float] = time.process_time,
    ) -> None:
        """Measure for ``process``, a name that operators know.

        Args:
            process: The process of the event loop.
            clock_s: Elapsed seconds.
            cpu_s: Seconds of processor time of the calling thread.
            process_cpu_s: Seconds of processor time of all threads of the process.
        """
        self._process = process
        self._clock_s = clock_s
        self._cpu_s = cpu_s
        self._process_cpu_s = process_cpu_s
        self._longest_s = 0.0
        self._slow_turns = 0
        self._by_second: deque[tuple[int, float]] = deque()
        self._unlogged = 0
        self._logged_s = float("-inf")
        self._place = ""
        # A lock: to wait for one takes half as much as for an event, and processes idle a lot.
        self._running = threading.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = self._last_cpu_s = self._last_process_cpu_s = 0.0
        self._since_s = self._since_cpu_s = 0.0
        self.busy = 0.0
        """The part of one processor that the thread of the loop has used lately, from 0 to 1."""

    def start(self) -> None:
        """Start, in the running event loop."""
        self._running.acquire()
        self._last_cpu_s = self._since_cpu_s = self._cpu_s()
        self._since_s = self._clock_s()
        self._set()
        thread = threading.get_ident()
        threading.Thread(
            target=self._look, args=(thread,), daemon=True, name="rillflow-loop-watch"
        ).start()

    def stop(self) -> None:
        """Stop; the state stays."""
        if self._running.locked():
            self._running.release()
        if self._timer is not None:
            self._timer.cancel()

    def state(self) -> LoopState:
        """Return the measurements."""
        self._forget(int(self._clock_s()))
        return LoopState(
            process=self._process,
            pid=os.getpid(),
            longest_ms=_ms(self._longest_s),
            longest_of_minute_ms=_ms(max((held_s for _, held_s in self._by_second), default=0.0)),
            slow_turns=self._slow_turns,
            busy=round(self.busy, 3),
        )

    def tick(self) -> None:
        """Record the delay of the timer, and set it again."""
        now_s, cpu_s, process_cpu_s = self._clock_s(), self._cpu_s(), self._process_cpu_s()
        held_s = max(now_s - self._due_s, 0.0)
        self._longest_s = max(self._longest_s, held_s)
        self._note_second(int(now_s), held_s)
        if held_s > SLOW_S:
            self._slow_turns += 1
            self._unlogged += 1
            own_s = cpu_s - self._last_cpu_s
            self._report(now_s, held_s, own_s, process_cpu_s - self._last_process_cpu_s - own_s)
        self._last_cpu_s, self._last_process_cpu_s = cpu_s, process_cpu_s
        if now_s - self._since_s >= BUSY_S:
            self.busy = min((cpu_s - self._since_cpu_s) / (now_s - self._since_s), 1.0)
            self._since_s, self._since_cpu_s = now_s, cpu_s
        self._place = ""
        self._set()

    def _set(self) -> None:
        self._due_s = self._clock_s() + TICK_S
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self.tick)

    def _note_second(self, second: int, held_s: float) -> None:
        seconds = self._by_second
        if seconds and seconds[-1][0] == second:
            if held_s > seconds[-1][1]:
                seconds[-1] = (second, held_s)
            return
        seconds.append((second, held_s))
        self._forget(second)

    def _forget(self, second: int) -> None:
        while self._by_second and self._by_second[0][0] <= second - MINUTE_S:
            self._by_second.popleft()

    def _report(self, now_s: float, held_s: float, own_s: float, others_s: float) -> None:
        """Log a slow turn, if this process computed in it; else the machine was busy elsewhere.

        Args:
            now_s: When the turn ended.
            held_s: For how long the timer was overdue.
            own_s: Processor time of the thread of the loop.
            others_s: Processor time of the other threads of the process.
        """
        is_of_others = others_s >= SLOW_S and others_s + own_s >= _OF_THE_HOLD * held_s
        if (own_s < SLOW_S and not is_of_others) or now_s - self._logged_s < QUIET_S:
            return
        facts = {"loop": self._process, "held_ms": _ms(held_s), "cpu_ms": _ms(own_s)}
        if is_of_others:
            facts["other_threads_cpu_ms"] = _ms(others_s)
        if self._place:
            facts["at"] = self._place
        log.warning("event_loop_held", extra={**facts, "slow_turns": self._unlogged})
        self._logged_s = now_s
        self._unlogged = 0

    def _look(self, thread: int) -> None:
        while not self._running.acquire(timeout=LOOK_S):
            if self._clock_s() - self._due_s > SLOW_S and not self._place:
                self._place = _place_of(sys._current_frames().get(thread))  # noqa: SLF001 - as documented


def _place_of(frame: FrameType | None) -> str:
    """Return the functions in which a thread is, the innermost first."""
    places: list[str] = []
    while frame is not None and len(places) < _SHOWN_FRAMES:
        code = frame.f_code
        places.append(f"{code.co_filename.rpartition('/')[2]}:{frame.f_lineno} {code.co_name}")
        frame = frame.f_back
    return " < ".join(places)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
