"""Threads with a queue, for work that may take a second.

While a thread computes, the event loop waits for the interpreter lock up to 5 ms each time. So
there are few threads, and work is refused when the queue is full.

Used by `runtime/definitions` and `runtime/histories`.
"""

import asyncio
import heapq
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import count
from operator import itemgetter
from typing import Final, TypeVar

from rillflow.errors import OverloadedError

Result = TypeVar("Result")

OLDEST_EVERY: Final = 4
"""Every so many times the work that waits longest is next, whatever its size."""


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


class PriorityThread:
    """One thread for work of different length: the shortest is next, now and then the oldest.

    So who needs a moment does not wait behind many who need a second.
    """

    def __init__(self, *, name: str) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=f"rillflow-{name}")
        self._waiting: list[tuple[int, int]] = []
        self._work: dict[int, Callable[[], None]] = {}
        self._numbers = count()
        self._taken = 0
        self._lock = threading.Lock()

    async def run(self, size: int, work: Callable[[], Result]) -> Result:
        """Return what ``work`` returns; its ``size`` decides when it is done.

        It must not touch anything that others change meanwhile.
        """
        # A name for the future, in a frame that its error passes, would keep both.
        return await asyncio.wrap_future(self._begin(size, work))

    def _begin(self, size: int, work: Callable[[], Result]) -> "Future[Result]":
        future: Future[Result] = Future()
        with self._lock:
            number = next(self._numbers)
            self._work[number] = partial(_fulfil, future, work)
            heapq.heappush(self._waiting, (size, number))
        self._executor.submit(self._take_one)
        return future

    def _take_one(self) -> None:
        with self._lock:
            self._taken += 1
            if self._taken % OLDEST_EVERY:
                _, number = heapq.heappop(self._waiting)
            else:
                oldest = min(self._waiting, key=itemgetter(1))
                self._waiting.remove(oldest)
                heapq.heapify(self._waiting)
                number = oldest[1]
        self._work.pop(number)()  # a name for it, in a frame that its error passes, would keep both


def _fulfil(future: "Future[Result]", work: Callable[[], Result]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(work())
    except BaseException as error:  # noqa: BLE001 - whoever waits gets it
        future.set_exception(error)
        # The traceback has this frame: the future and the error would keep each other.
        del future


FOR_DEFINITIONS: Final = PriorityThread(name="definitions")
"""The thread of this process that prepares stored definitions for running."""

FOR_HISTORIES: Final = BoundedThreads(1, 64, name="histories")
"""The thread of this process that replays executions for the console."""
