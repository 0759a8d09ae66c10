"""Threads for work that may take a second, with a bounded queue.

While a thread computes, the event loop waits for up to 5 ms whenever it has something to do.
So there are few threads, and what finds the queue full is refused instead of piling up.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

from rillflow.errors import OverloadedError

Result = TypeVar("Result")


class BoundedThreads:
    """A few threads, and room for some work that waits for them."""

    def __init__(self, threads: int, waiting: int, *, name: str) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=f"rillflow-{name}")
        self._name = name
        self._most = threads + waiting
        self._taken = 0
        self._lock = threading.Lock()

    async def run(self, work: Callable[[], Result]) -> Result:
        """Return what ``work`` returns; it touches nothing that others change meanwhile.

        Raises:
            OverloadedError: As much as may wait does so already (429).
        """
        with self._lock:
            if self._taken >= self._most:
                raise OverloadedError(
                    f"{self._most} requests of this kind ({self._name}) are under way or waiting;"
                    " try again later"
                )
            self._taken += 1
        future = self._executor.submit(work)
        # Also if the caller has gone: what is under way takes its thread until it is done.
        future.add_done_callback(self._leave)
        return await asyncio.wrap_future(future)

    def _leave(self, _future: "Future[Result]") -> None:
        with self._lock:
            self._taken -= 1


FOR_AUTHORS: Final = BoundedThreads(2, 32, name="authors")
"""Where this process reads definitions and tries rules, for those who write them."""
