"""Background tasks, which run beside the calls.

Whoever begins them ends them, by ``stop``. A task that fails is reported and is not begun again.

Used by `runtime/activation`, `runtime/commands` and `runtime/crashes`.
"""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeAlias

from rillflow.ids import ExecutionId
from rillflow.task_set import TaskSet

Crashed: TypeAlias = Callable[[ExecutionId, Exception], None]


class BackgroundTasks:
    """Tasks under way; ``crashed`` is called for each that fails."""

    def __init__(self, crashed: Crashed) -> None:
        self._crashed = crashed
        self._tasks = TaskSet[None]()

    def __len__(self) -> int:
        return len(self._tasks)

    def begin(self, execution_id: ExecutionId, work: Coroutine[Any, Any, None]) -> None:
        """Start a task for an execution."""
        self._tasks.start(work).add_done_callback(partial(self._look_at, execution_id))

    def _look_at(self, execution_id: ExecutionId, task: "asyncio.Task[None]") -> None:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self._crashed(execution_id, error)

    async def finish(self, within_s: float) -> None:
        """Wait for the tasks under way, and cancel those that do not end in time."""
        await self._tasks.wait(within_s)
        await self.stop()

    async def stop(self) -> None:
        """Cancel the tasks under way, and those that start when others end."""
        await self._tasks.stop()
