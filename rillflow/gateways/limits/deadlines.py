"""Deadlines of many calls that wait: one timer of the event loop serves all of them.

Used by `gateways/http` and `gateways/limits`.
"""

import asyncio
import heapq
from itertools import count
from math import inf
from typing import Final, Protocol

PORTION: Final = 256
"""So many calls are given up in one turn of the event loop."""
FEW: Final = 64
"""So many deadlines of calls that wait no more are kept."""


class Waiting(Protocol):
    """A call that waits."""

    def done(self) -> bool:
        """Tell whether it waits no more."""
        ...

    def give_up(self) -> None:
        """Let it wait no more."""
        ...


class Deadlines:
    """Gives calls up that wait for too long."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Waiting]] = []
        self._numbers = count()
        self._most = FEW
        self._timer: asyncio.Handle | None = None
        # Of a time that has passed, uvloop makes a handle that does not tell it.
        self._due_s = inf

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, due_s: float, waiting: Waiting) -> None:
        """Give a call up at a time of the event loop's clock, unless it is done by then."""
        if len(self._heap) >= self._most:
            self._heap = [entry for entry in self._heap if not entry[2].done()]
            heapq.heapify(self._heap)
            self._most = 2 * len(self._heap) + FEW
        entry = (due_s, next(self._numbers), waiting)
        heapq.heappush(self._heap, entry)
        if self._timer is None or self._due_s > due_s:
            self._watch()

    def close(self) -> None:
        """Give no more calls up."""
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _watch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due_s = self._heap[0][0]
        self._timer = asyncio.get_running_loop().call_at(self._due_s, self._look)

    def _look(self) -> None:
        self._timer = None
        now_s = asyncio.get_running_loop().time()
        for _ in range(PORTION):
            if not self._heap or self._heap[0][0] > now_s:
                break
            _, _, waiting = heapq.heappop(self._heap)
            if not waiting.done():
                waiting.give_up()
        if self._heap:
            self._watch()
