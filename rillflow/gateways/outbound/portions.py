"""Portions of work for the event loop: how much of it one turn does, workspaces in turn.

Hundreds of calls arrive in one order, and each builds its request in the event loop, unless that is
large. So a turn builds those of some kilobytes of inputs, and the others wait for later turns.

Used by `gateways/registry.py`.
"""

import asyncio
from collections import OrderedDict, deque
from typing import Final, TypeAlias

from rillflow.ids import ExecutionId, workspace_of

PORTION_BYTES: Final = 64 * 1024
"""Inputs of so many bytes take up to some milliseconds, as forms; JSON a tenth of that."""
LEAST_BYTES: Final = 256
"""What an input counts for at least: a call takes some time besides its bytes."""
_Queue: TypeAlias = "deque[tuple[int, asyncio.Future[None]]]"


class Portions:
    """Divides what would be done in one turn of the event loop."""

    def __init__(self, most_bytes: int = PORTION_BYTES) -> None:
        """Let works on so many bytes begin in a turn, and one more."""
        self._most = most_bytes
        self._left = most_bytes
        self._waiting: OrderedDict[str, _Queue] = OrderedDict()
        self._is_watched = False

    def takes(self, size_bytes: int) -> bool:
        """Tell whether work on so many bytes may begin in this turn; if not, ``wait`` for it."""
        if self._waiting or self._left <= 0:
            return False
        self._left -= max(size_bytes, LEAST_BYTES)
        self._watch()
        return True

    async def wait(self, execution_id: ExecutionId, size_bytes: int) -> None:
        """Wait until work of an execution on so many bytes may begin."""
        came = asyncio.get_running_loop().create_future()
        queue = self._waiting.setdefault(workspace_of(execution_id), deque())
        queue.append((size_bytes, came))
        self._watch()
        await came

    def _watch(self) -> None:
        if not self._is_watched:
            self._is_watched = True
            asyncio.get_running_loop().call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._is_watched = False
        self._left = self._most
        while self._waiting and self._left > 0:
            workspace, queue = next(iter(self._waiting.items()))
            size_bytes, came = queue.popleft()
            if queue:
                self._waiting.move_to_end(workspace)
            else:
                del self._waiting[workspace]
            if not came.done():
                self._left -= max(size_bytes, LEAST_BYTES)
                came.set_result(None)
        if self._left < self._most:
            self._watch()
