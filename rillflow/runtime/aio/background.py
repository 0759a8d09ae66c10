"""Work that runs beside the calls, each in a task of its own."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeAlias

from rillflow.ids import ExecutionId

Crashed: TypeAlias = Callable[[ExecutionId, Exception], None]


class BackgroundTasks:
    """Work under way, each in a task of its own; ``crashed`` is told of those that fail."""

    def __init__(self, crashed: Crashed) -> None:
        self._crashed = crashed
        self._under_way: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._under_way)

    def begin(self, execution_id: ExecutionId, work: Coroutine[Any, Any, None]) -> None:
        """Start work of an execution and let it run."""
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(partial(self._end, execution_id))

    def _end(self, execution_id: ExecutionId, task: "asyncio.Task[None]") -> None:
        self._under_way.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self._crashed(execution_id, error)

    async def finish(self, within_s: float) -> None:
        """Let the tasks under way come to their end, and give up those that do not in time."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=within_s)
        await self.stop()

    async def stop(self) -> None:
        """Give up the tasks under way, and those that begin when others end."""
        while self._under_way:
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)
