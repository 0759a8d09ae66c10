"""Threads with a bounded queue, for work that may take a second.

While a thread computes, the event loop waits for the interpreter lock up to 5 ms each time. So
there are few threads, and work is refused when the queue is full.

Used by `runtime/definitions`, `serve/routes` and `serve/routes/console`.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

from rillflow.errors import OverloadedError

Result = TypeVar("Result")


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
        return await asyncio.wrap_future(future)

    def _leave(self, _future: "Future[Result]") -> None:
        with self._lock:
            self._taken -= 1


FOR_AUTHORS: Final = BoundedThreads(2, 32, name="authors")
"""The threads of this process that read definitions and try rules for workflow authors."""
