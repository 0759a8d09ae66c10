"""Dispatches that wait because their function is busy (spec 9.3).

Used by `runtime/commands/dispatching.py`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from itertools import starmap
from typing import Final

from rillflow.core.commands import DispatchTask
from rillflow.ids import ExecutionId, workflow_of

LONGEST_SLEEP_S: Final = 1.0


class HeldDispatches:
    """Holds dispatches in the order of their arrival, and releases them when they are due.

    They are in memory only: after a restart every dispatch without an answer is made anew, so none
    is lost and none waits for ever.
    """

    def __init__(
        self,
        busy_s: Callable[[str, str], float],
        release: Callable[[list[DispatchTask]], Awaitable[None]],
        refresh: Callable[[], Awaitable[None]],
    ) -> None:
        """``busy_s`` says how long to hold calls of a function by a service.

        ``refresh`` is awaited before each check.
        """
        self._busy_s = busy_s
        self._release = release
        self._refresh = refresh
        self._held: dict[tuple[str, str], list[DispatchTask]] = {}
        self.count = 0
        """How many are held, which is read for each submission."""
        self.input_bytes = 0
        """The bytes of their inputs, which are read likewise."""
        self._changed = asyncio.Event()
        self._sleeper: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return self.count

    def executions(self) -> Iterator[ExecutionId]:
        """Yield the execution of each dispatch that is held."""
        return (each.execution_id for held in self._held.values() for each in held)

    def inputs(self) -> Iterator[tuple[ExecutionId, int]]:
        """Yield the execution of each, and the bytes of its input."""
        return (
            (each.execution_id, len(each.input)) for held in self._held.values() for each in held
        )

    def hold(self, command: DispatchTask) -> None:
        """Hold a dispatch until its function is no longer busy."""
        key = (command.resource_name, workflow_of(command.execution_id))
        self._held.setdefault(key, []).append(command)
        self.count += 1
        self.input_bytes += len(command.input)
        self._changed.set()
        if self._sleeper is None:
            self._sleeper = asyncio.create_task(self._run(), name="held dispatches")

    def look_again(self) -> None:
        """Check now which dispatches can be released."""
        self._changed.set()

    async def stop(self) -> None:
        """Drop what is held; the next owner makes these dispatches."""
        if self._sleeper is not None:
            self._sleeper.cancel()
            await asyncio.gather(self._sleeper, return_exceptions=True)

    async def _run(self) -> None:
        try:
            while self._held:
                self._changed.clear()
                await self._refresh()
                free = [key for key in self._held if not self._busy_s(*key)]
                commands = [command for key in free for command in self._held.pop(key)]
                self.count -= len(commands)
                self.input_bytes -= sum(len(command.input) for command in commands)
                if commands:
                    await self._release(commands)
                    continue
                try:
                    async with asyncio.timeout(self._sleep_s()):
                        await self._changed.wait()
                except TimeoutError:
                    continue
        finally:
            self._sleeper = None

    def _sleep_s(self) -> float:
        return min(max(min(starmap(self._busy_s, self._held)), 0.001), LONGEST_SLEEP_S)
