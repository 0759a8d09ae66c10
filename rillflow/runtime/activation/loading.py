"""The read of an execution that is under way, those who wait for it, and who is told of its end.

Used by `runtime/activation/cache.py`.
"""

import asyncio
from collections.abc import Coroutine
from typing import Protocol

from rillflow.ids import ExecutionId
from rillflow.runtime.activation.active_execution import ActiveExecution


class CreatedMeanwhileError(Exception):
    """The execution was created while it was being read, so the result is out of date."""


class ActivationWatch(Protocol):
    """Receives what must follow when executions enter or leave memory."""

    def resumed(self, execution: ActiveExecution) -> None:
        """Carry out what is outstanding of an execution that was not running by itself."""
        ...

    def forgotten(self, execution_id: ExecutionId) -> None:
        """Have an execution read again, and resumed."""
        ...

    def crashed(self, execution_id: ExecutionId, error: Exception) -> None:
        """Note that an execution could not be replayed from what is stored."""
        ...


class Loading:
    """A read that is under way, and those who wait for it.

    What was read is leased until all of them have looked at it: another execution that is read at
    that moment would evict it, and be evicted in turn when it is read again.
    """

    __slots__ = ("_leased", "_waiting", "task")

    def __init__(self, work: Coroutine[None, None, ActiveExecution | None]) -> None:
        self.task: asyncio.Task[ActiveExecution | None] | None = asyncio.create_task(work)
        self._waiting = 0
        self._leased: ActiveExecution | None = None

    async def wait(self) -> ActiveExecution | None:
        """Return the result; the caller takes a lease before it suspends."""
        self._waiting += 1
        try:
            return await asyncio.shield(self._under_way())
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._see_out()

    def _see_out(self) -> None:
        """Note that nobody waits any more."""
        if self._leased is not None:
            self._leased.end_lease()
            self._leased = None
        if self.task is not None and self.task.done():
            # What it has raised has a traceback, with frames that refer to this object. Such a
            # circle, with all that was read, would stay in memory until a collection.
            self.task = None

    def _under_way(self) -> "asyncio.Task[ActiveExecution | None]":
        if self.task is None:
            raise RuntimeError("a read is waited for that has been seen out")
        return self.task

    def keep(self, execution: ActiveExecution) -> None:
        """Lease what was read, if anybody waits."""
        if self._waiting:
            execution.begin_lease()
            self._leased = execution
