"""Turns in which the processes of dedicated executions start.

A start costs some 0.4 s of processor time, of which Ray's own processes spend a part, and nobody
else has a share of that time. So few starts are under way at a time, workspaces take turns, and
one that starts many rests after each for as long as it took.

Used by `actors/directory.py`.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from rillflow.errors import OverloadedError
from rillflow.ids import ExecutionId, workspace_of

PART_OF_PROCESSORS: Final = 4
"""So many processors are there for each start that is under way; one may be anyway."""
REST: Final = 1.0
"""A workspace rests so many times as long as its start took."""
BURST_S: Final = 1.0
"""So much rest a workspace may put off: who starts a few now and then does not wait."""
LONGEST_START_S: Final = 10.0
"""So long a start keeps its turn; then others start beside one that takes longer."""
LONGEST_WAIT_S: Final = 20.0
"""A submission that would wait longer for its start is refused."""
LEAST_WAITING: Final = 16
"""So many starts of a workspace may wait, however long they take."""
COMING_S: Final = 5.0
"""So long a start that was admitted counts before it asks for its turn."""
USUAL_S: Final = 0.3
"""What a start takes before one was measured."""


def starts_at_once(processors: int | None = None) -> int:
    """Return how many starts may be under way on a machine, by default on this one."""
    return max((processors or os.cpu_count() or 1) // PART_OF_PROCESSORS, 1)


class _Starts:
    """The starts of one workspace, of which it has ``at_once`` at most."""

    def __init__(self, at_once: int) -> None:
        self.waiting = 0
        self.coming: dict[ExecutionId, float] = {}
        """Until when those count that were admitted, and have not asked for their turn yet."""
        self.free = asyncio.Semaphore(at_once)
        self.rested_s = 0.0
        """When it has rested for all of them."""


class StartTurns:
    """The turns of the starts that this process orders.

    Where one is under way at a time, whoever waits, waits for one start of each other workspace at
    most, and for those of its own workspace that came before. Where there are several, no workspace
    has all of them.
    """

    def __init__(self, at_once: int | None = None) -> None:
        """Let ``at_once`` be under way, by default as many as this machine bears."""
        at_once = at_once or starts_at_once()
        self._free = asyncio.Semaphore(at_once)
        self._of_one = max(at_once - 1, 1)
        self._of: dict[str, _Starts] = {}
        self._usual_s = USUAL_S

    def __len__(self) -> int:
        """Return of how many workspaces starts wait, or are rested for."""
        return len(self._of)

    def admit(self, execution_id: ExecutionId) -> None:
        """Refuse one more start that would have to wait too long, or else count it as waiting.

        Raises:
            OverloadedError: There are too many of its workspace that wait (429).
        """
        workspace, now_s = workspace_of(execution_id), asyncio.get_running_loop().time()
        starts = self._starts_of(workspace)
        starts.coming = {each: at_s for each, at_s in starts.coming.items() if at_s > now_s}
        waiting = starts.waiting + len(starts.coming)
        wait_s = waiting * self._cost_s(self._usual_s)
        if (
            waiting >= LEAST_WAITING
            and wait_s > LONGEST_WAIT_S
            and execution_id not in starts.coming
        ):
            raise OverloadedError(
                f"{waiting} dedicated executions of the workspace {workspace} wait for their"
                f" processes, which start one after the other, in {wait_s:.0f} s; submit it with"
                " isolation=shared, or try again later"
            )
        starts.coming[execution_id] = now_s + COMING_S

    def _starts_of(self, workspace: str) -> _Starts:
        return self._of.setdefault(workspace, _Starts(self._of_one))

    @asynccontextmanager
    async def turn(self, execution_id: ExecutionId) -> AsyncIterator[None]:
        """Wait for the turn of a start, which ends with the block, or after ``LONGEST_START_S``."""
        starts = self._starts_of(workspace_of(execution_id))
        starts.coming.pop(execution_id, None)
        starts.waiting += 1
        try:
            # Those of a workspace wait there, so the order in which they come here is a rotation.
            async with starts.free:
                await _until(starts.rested_s - BURST_S)
                async with self._one_of_few(starts):
                    yield
        finally:
            starts.waiting -= 1
            self._forget_rested()

    @asynccontextmanager
    async def _one_of_few(self, starts: _Starts) -> AsyncIterator[None]:
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        begun_s, held = loop.time(), [self._free]

        def release() -> None:
            while held:
                held.pop().release()

        late = loop.call_later(LONGEST_START_S, release)
        try:
            yield
        finally:
            late.cancel()
            release()
            took_s = min(loop.time() - begun_s, LONGEST_START_S)
            self._usual_s += (took_s - self._usual_s) / 4
            starts.rested_s = max(starts.rested_s, begun_s) + self._cost_s(took_s)

    def _cost_s(self, took_s: float) -> float:
        """Return how long a workspace is busy with one start, and rests after it."""
        return (1 + REST) * took_s / self._of_one

    def _forget_rested(self) -> None:
        """Forget workspaces of which no start waits, and that have rested."""
        now_s = asyncio.get_running_loop().time()
        for workspace, starts in list(self._of.items()):
            until_s = max(starts.rested_s, *starts.coming.values(), 0.0)
            if not starts.waiting and until_s <= now_s:
                del self._of[workspace]


async def _until(at_s: float) -> None:
    left_s = at_s - asyncio.get_running_loop().time()
    if left_s > 0.0:
        await asyncio.sleep(left_s)
