"""Limits how many callbacks of one execution are unpacked and read at once, and their bytes.

Callbacks need no key, and a few bytes may unpack to a megabyte. So those of one execution, however
many come, take turns. They have a thread of their own, which executions share fairly. What waits
for its turn is in memory, so executions and workspaces have a part of the bytes.

Used by `serve/routes/hot.py`.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from rillflow.errors import OverloadedError
from rillflow.ids import ExecutionId, workspace_of
from serve.limits.work_room import WorkRoom

AT_ONCE: Final = 2
MOST_WAITING: Final = 256
"""Callbacks of one execution that wait for their turn; one more is refused."""
MOST_BYTES: Final = 256 << 20
"""What those that are read, or wait, may have together, and half of it those of one workspace."""
MOST_BYTES_OF_EXECUTION: Final = MOST_BYTES // 8


class _Turns:
    def __init__(self) -> None:
        self.taken = asyncio.Semaphore(AT_ONCE)
        self.users = 0
        self.size_bytes = 0


class UnpackingTurns:
    """The turns of the callbacks of each execution."""

    def __init__(self) -> None:
        self._by_execution: dict[ExecutionId, _Turns] = {}
        self._bytes = WorkRoom(MOST_BYTES, "callbacks")

    @asynccontextmanager
    async def turn(self, execution_id: ExecutionId, size_bytes: int) -> AsyncIterator[None]:
        """Wait for a turn with a body, and keep it until the context is left; one always may.

        Raises:
            OverloadedError: Too many callbacks of the execution wait (429), or those that wait hold
                too many bytes (429 of the execution, 503 of its workspace or of all).
        """
        turns = self._by_execution.setdefault(execution_id, _Turns())
        held = turns.size_bytes
        is_full = held and held + size_bytes > MOST_BYTES_OF_EXECUTION
        if is_full or turns.users >= AT_ONCE + MOST_WAITING:
            raise OverloadedError(
                f"{turns.users} large or packed callbacks of this execution are being read;"
                " try again later"
            )
        turns.users += 1
        turns.size_bytes += size_bytes
        try:
            with self._bytes.hold((workspace_of(execution_id),), size_bytes):
                async with turns.taken:
                    yield
        finally:
            turns.users -= 1
            turns.size_bytes -= size_bytes
            if not turns.users:
                del self._by_execution[execution_id]
