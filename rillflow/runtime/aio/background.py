"""Background tasks, which run beside the calls.

Whoever begins them ends them, by ``stop``. A task that fails is reported and is not begun again.

One event may ask for a thousand of them, whose first steps would all come in one turn of the event
loop. So a turn begins some of them, of the workspaces in rotation, and the others follow.

Used by `runtime/activation`, `runtime/commands` and `runtime/crashes`.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, TypeAlias

from rillflow.ids import ExecutionId, workspace_of
from rillflow.task_set import TaskSet

Crashed: TypeAlias = Callable[[ExecutionId, Exception], None]
MOST_AT_ONCE: Final = 32
"""So many tasks begin in one turn of the loop; their first steps take some milliseconds."""
_Work: TypeAlias = Coroutine[Any, Any, None]


class BackgroundTasks:
    """Tasks under way; ``crashed`` is called for each that fails."""

    def __init__(self, crashed: Crashed) -> None:
        self._crashed = crashed
        self._tasks = TaskSet[None]()
        self._begun = 0
        """How many have begun in this turn of the loop."""
        self._waiting: dict[str, deque[tuple[ExecutionId, _Work]]] = {}
        self._rotation = deque[str]()
        """The workspaces of which some wait; the one whose turn is next comes first."""

    def __len__(self) -> int:
        return len(self._tasks) + sum(map(len, self._waiting.values()))

    def begin(self, execution_id: ExecutionId, work: _Work) -> None:
        """Start a task for an execution, now or in a later turn of the loop."""
        if self._begun < MOST_AT_ONCE:
            self._begin(execution_id, work)
            return
        workspace = workspace_of(execution_id)
        if workspace not in self._waiting:
            self._waiting[workspace] = deque()
            self._rotation.append(workspace)
        self._waiting[workspace].append((execution_id, work))

    def _begin(self, execution_id: ExecutionId, work: _Work) -> None:
        if not self._begun:
            asyncio.get_running_loop().call_soon(self._begin_more)
        self._begun += 1
        self._tasks.start(work).add_done_callback(partial(self._look_at, execution_id))

    def _begin_more(self) -> None:
        """Begin tasks that wait, as many as one turn of the loop begins."""
        self._begun = 0
        while self._waiting and self._begun < MOST_AT_ONCE:
            workspace = self._rotation.popleft()
            queue = self._waiting[workspace]
            self._begin(*queue.popleft())
            if queue:
                self._rotation.append(workspace)
            else:
                del self._waiting[workspace]

    def _look_at(self, execution_id: ExecutionId, task: "asyncio.Task[None]") -> None:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self._crashed(execution_id, error)

    async def finish(self, within_s: float) -> None:
        """Wait for the tasks under way, and cancel those that do not end in time."""
        for execution_id, work in self._take_waiting():
            self._begin(execution_id, work)
        await self._tasks.wait(within_s)
        await self.stop()

    async def stop(self) -> None:
        """Cancel the tasks under way, and those that start when others end."""
        while len(self):
            for _, work in self._take_waiting():
                work.close()
            await self._tasks.stop()

    def _take_waiting(self) -> list[tuple[ExecutionId, _Work]]:
        waiting = [each for queue in self._waiting.values() for each in queue]
        self._waiting.clear()
        self._rotation.clear()
        return waiting
