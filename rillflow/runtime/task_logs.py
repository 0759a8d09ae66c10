"""Logs of tasks for callers: they are read a few at a time, and workspaces take turns.

A log may be on another node, where a process is needed to read it, and whoever may read may ask any
number of times at once.

Used by `runtime/stack.py`.
"""

from typing import Final

from rillflow.ports.task_logs import LogPlace, LogText, TaskLogs
from rillflow.runtime.aio.sender_turns import SenderTurns

AT_ONCE: Final = 3
"""How many logs one replica reads at the same time; one fewer of them of one workspace."""
MOST_WAITING: Final = 128
"""How many may be under way or wait; half of them of one workspace."""


class FairTaskLogs:
    """Reads logs in turns of the workspaces of their executions."""

    def __init__(self, logs: TaskLogs) -> None:
        """Read by ``logs``."""
        self._logs = logs
        self._turns = SenderTurns(
            most=MOST_WAITING,
            at_once=AT_ONCE,
            refusal="many logs are waiting to be read; ask again in some seconds",
        )

    async def read(self, workspace: str, place: LogPlace) -> list[LogText]:
        """Return what is at the place of a log of a workspace; a file that is gone is left out.

        Raises:
            OverloadedError: Too many wait, of this workspace or of all (503).
            UnavailableError: The node cannot be reached.
        """
        async with self._turns.turn(workspace):
            return await self._logs.read(place)
