"""Bounds the memory of executions that are read from the store only because somebody looks at them.

A lease keeps an execution in memory whatever the limit of executions in memory says, so readers of
many executions could fill the memory by their leases alone. `leases.py` asks here first; calls that
change an execution do not.
"""

import asyncio
from collections import deque
from typing import Final

from rillflow.errors import NotReadyError, UnreadAnswersError

MOST_AT_ONCE: Final = 2
"""So many executions of readers are activated at once: one that takes long delays no other."""
MOST_WAITING: Final = 64
"""More readers than this do not wait for their turn, but are refused."""


class ReadBudget:
    """Lets readers activate few executions at a time.

    The next activation begins once there are less than ``MOST_AT_ONCE``, and what readers lease of
    activations weighs no more than the budget. How much an execution weighs is known when it has
    been read, so they take the budget and ``MOST_AT_ONCE`` executions at most.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._leased_bytes = 0
        self._under_way = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def check(self) -> None:
        """Check that a short activation may begin at once, beside others.

        Raises:
            NotReadyError: What readers have leased weighs more than the budget.
        """
        if self._leased_bytes > self._most_bytes:
            raise NotReadyError("executions that others read take their room first")

    async def begin(self, *, has_leases: bool) -> None:
        """Wait until an activation may begin, which ``end`` ends.

        A reader who has leases already, of other executions, does not wait for those of others, who
        might wait for its own.

        Raises:
            UnreadAnswersError: Too many wait.
        """
        while not self._has_room(has_leases=has_leases):
            if len(self._waiting) >= MOST_WAITING:
                raise UnreadAnswersError(
                    "too many executions that are not in memory are being read; try again later"
                )
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn
        self._under_way += 1

    def end(self) -> None:
        """Note that the activation is over."""
        self._under_way -= 1
        self._wake()

    def take(self, size_bytes: int) -> None:
        """Count what a reader has leased."""
        self._leased_bytes += size_bytes

    def give_back(self, size_bytes: int) -> None:
        """Note that a reader's leases are over."""
        self._leased_bytes -= size_bytes
        self._wake()

    def _has_room(self, *, has_leases: bool) -> bool:
        is_within = has_leases or self._leased_bytes <= self._most_bytes
        return is_within and self._under_way < MOST_AT_ONCE

    def _wake(self) -> None:
        """Let all who wait look again, in their order; the first who may go on goes on."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # else its reader was cancelled
                turn.set_result(None)
