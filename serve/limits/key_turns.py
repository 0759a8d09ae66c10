"""Gives each key by name, or all keys of a workspace, turns in a replica whose loop is late.

A loop takes requests as they come. So a key with 1,500 connections has the request of another key
wait for 1,500 of its own, however little each of them costs, and also if each is refused. While the
loop is late, each key therefore has so many requests in an interval that the loop keeps up, and the
others wait, in their order. That number falls by a quarter where the loop was late, and grows by a
tenth where it was not. Who sends less than that never waits. Keys that are limited to a workspace
have their turns together, or a workspace with five keys would have five times as many.

Used by `serve/middleware/entry.py`.
"""

import asyncio
from collections import Counter, deque
from typing import Final

INTERVAL_S: Final = 0.05
LATE_S: Final = 0.025
"""A loop that is so late has others wait for longer than they should."""
FALLS_TO: Final = 0.75
GROWS_BY: Final = 1.1
LEAST: Final = 10
"""Requests that each key has in an interval, however late the loop is: 200 a second."""
MOST: Final = 400
"""Requests that each key has in an interval at most: 8,000 a second."""
MOST_INTERVALS: Final = 200
"""A request that would wait for more intervals, which are 10 s, is refused."""


class KeyTurns:
    """The turns of the keys of one replica."""

    def __init__(self, interval_s: float = INTERVAL_S) -> None:
        self._interval_s = interval_s
        self._taken: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._most: float = MOST
        self._is_timed = False

    def has_turn(self, key: str) -> bool:
        """Take a turn of a key, and tell whether it had one; if not, it has to ``wait``."""
        taken = self._taken.get(key, 0)
        if taken >= self._most or key in self._waiting:
            return False
        self._taken[key] = taken + 1
        if not self._is_timed:
            loop = asyncio.get_running_loop()
            self._is_timed = True
            loop.call_later(self._interval_s, self._tick, loop, loop.time())
        return True

    async def wait(self, key: str) -> bool:
        """Wait for a turn of a key; false, at once, if too many of its requests wait already."""
        waiting = self._waiting.setdefault(key, deque())
        if len(waiting) >= self._most * MOST_INTERVALS:
            return False
        turn = asyncio.get_running_loop().create_future()
        waiting.append(turn)
        await turn
        return True

    def _tick(self, loop: asyncio.AbstractEventLoop, since_s: float) -> None:
        now_s = loop.time()
        self.end_interval(now_s - since_s)
        self._is_timed = bool(self._taken) or self._most < MOST
        if self._is_timed:
            loop.call_later(self._interval_s, self._tick, loop, now_s)

    def end_interval(self, took_s: float) -> None:
        """Begin the next interval, after one that took so long, and let waiting requests go on."""
        highest = max(self._taken.values(), default=0)
        self._taken.clear()
        if took_s > self._interval_s + LATE_S:
            in_time = highest * self._interval_s / took_s
            self._most = max(min(self._most, in_time) * FALLS_TO, LEAST)
        else:
            self._most = min(self._most * GROWS_BY, MOST)
        for key in list(self._waiting):
            self._go_on(key)

    def _go_on(self, key: str) -> None:
        waiting = self._waiting[key]
        while waiting and self._taken[key] < self._most:
            turn = waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self._taken[key] += 1
        if not waiting:
            del self._waiting[key]
