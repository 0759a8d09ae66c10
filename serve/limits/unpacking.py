"""Limits how many callbacks of one execution are unpacked and read at once.

Callbacks need no key, and a few bytes may unpack to a megabyte. So those of one execution, however
many come, take turns. They have a thread of their own, which executions share fairly.

Used by `serve/routes/hot.py`.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from rillflow.errors import OverloadedError
from rillflow.ids import ExecutionId

AT_ONCE: Final = 2
MOST_WAITING: Final = 256
"""Callbacks of one execution that wait for their turn; one more is refused."""


class _Turns:
    def __init__(self) -> None:
        self.taken = asyncio.Semaphore(AT_ONCE)
        self.users = 0


class UnpackingTurns:
    """The turns of the callbacks of each execution."""

    def __init__(self) -> None:
        self._by_execution: dict[ExecutionId, _Turns] = {}

    @asynccontextmanager
    async def turn(self, execution_id: ExecutionId) -> AsyncIterator[None]:
        """Wait for a turn, and keep it until the context is left.

        Raises:
            OverloadedError: Too many callbacks of the execution wait (429).
        """
        turns = self._by_execution.setdefault(execution_id, _Turns())
        if turns.users >= AT_ONCE + MOST_WAITING:
            raise OverloadedError(
                f"{turns.users} large or packed callbacks of this execution are being read;"
                " try again later"
            )
        turns.users += 1
        try:
            async with turns.taken:
                yield
        finally:
            turns.users -= 1
            if not turns.users:
                del self._by_execution[execution_id]
