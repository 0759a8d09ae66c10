"""Threads with a queue, for work that may take a second.

While a thread computes, the event loop waits for the interpreter lock up to 5 ms each time. So
there are few threads, and work is refused when the queue is full.

Used by `runtime/definitions` and `runtime/histories`.
"""

import asyncio
import threading
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from operator import attrgetter
from typing import Final, TypeVar

from rillflow.errors import OverloadedError
from rillflow.gateways.outbound.fair_thread import FairThread, Work

Result = TypeVar("Result")

OLDEST_EVERY: Final = 4
"""Every so many works of a key the one that waits longest is next, whatever its size."""


class BoundedThreads:
    """A few threads, and a bounded queue of work."""

    def __init__(self, threads: int, waiting: int, *, name: str) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=f"rillflow-{name}")
        self._name = name
        self._most = threads + waiting
        self._taken = 0
        self._lock = threading.Lock()

    async def run(self, work: Callable[[], Result]) -> Result:
        """Return what ``work`` returns; it must not touch anything that others change meanwhile.

        Raises:
            OverloadedError: The queue is full (429).
        """
        # A name for the future, in a frame that its error passes, would keep both.
        return await asyncio.wrap_future(self._begin(work))

    def _begin(self, work: Callable[[], Result]) -> "Future[Result]":
        with self._lock:
            if self._taken >= self._most:
                raise OverloadedError(
                    f"{self._most} requests of this kind ({self._name}) are under way or waiting;"
                    " try again later"
                )
            self._taken += 1
        future = self._executor.submit(work)
        # Also after a cancellation: the work under way occupies its thread until it is done.
        future.add_done_callback(self._leave)
        return future

    def _leave(self, _future: "Future[Result]") -> None:
        with self._lock:
            self._taken -= 1


class FairPriorityThread(FairThread):
    """A fair thread that takes of a key the smallest work first, now and then the oldest.

    So who needs a moment does not wait behind many of its own that need a second, and behind those
    of others no longer than for one of each.
    """

    def __init__(self, *, most: int, most_of_one: int, name: str, rest: float = 0.0) -> None:
        """Give places, and rest, as a ``FairThread`` does."""
        super().__init__(most=most, most_of_one=most_of_one, name=name, rest=rest)
        self._begun: Counter[str] = Counter()
        """How many works of each key with waiting ones were begun."""

    def _take(self, key: str, works: deque[Work]) -> Work:
        self._begun[key] += 1
        if self._begun[key] % OLDEST_EVERY:
            work = min(works, key=attrgetter("size"))  # the oldest of equal ones
            works.remove(work)
        else:
            work = works.popleft()
        if not works:
            del self._begun[key]
        return work


DEFINITIONS_OF_ONE: Final = 64
"""So many definitions of a workspace may wait to be prepared for submissions."""

FOR_DEFINITIONS: Final = FairPriorityThread(
    most=1_024, most_of_one=DEFINITIONS_OF_ONE, name="definitions", rest=1.0
)
"""The thread of this process that prepares stored definitions for running, by workspace.

It has the interpreter for half of the time at most: an event loop that waits for its lock is held.
"""

FOR_HISTORIES: Final = BoundedThreads(1, 64, name="histories")
"""The thread of this process that replays executions for the console."""
