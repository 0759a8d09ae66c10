"""Keeps references to background tasks of asyncio, which could otherwise be garbage-collected.

`rillflow/runtime/aio/background.py` adds which execution a task belongs to.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")


class TaskSet(Generic[Result]):
    """Tasks under way; one that ends leaves, and hinders no other if it fails.

    An ``asyncio.TaskGroup`` cancels all when one fails, and its owner has to wait inside of it.
    """

    def __init__(self) -> None:
        self._under_way: set[asyncio.Task[Result]] = set()

    def __len__(self) -> int:
        return len(self._under_way)

    def start(self, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        """Run work in a task of its own."""
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    def cancel(self) -> None:
        """Cancel the tasks under way, without waiting for their end."""
        for task in self._under_way:
            task.cancel()

    async def wait(self, within_s: float | None = None) -> None:
        """Wait until the tasks under way now have ended, for so many seconds at most."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=within_s)

    async def stop(self) -> None:
        """Cancel the tasks under way, and those that begin while others end."""
        while self._under_way:
            self.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)
