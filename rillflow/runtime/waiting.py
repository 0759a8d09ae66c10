"""Callers that wait for the end of an execution."""

import asyncio

from rillflow.ids import ExecutionId


class Waiters:
    """Wakes those who wait; each waits for at most the time it gave."""

    def __init__(self) -> None:
        self._events: dict[ExecutionId, asyncio.Event] = {}

    async def wait(self, execution_id: ExecutionId, timeout_s: float) -> bool:
        """Wait for the end; False when the time was not enough."""
        event = self._events.setdefault(execution_id, asyncio.Event())
        try:
            await asyncio.wait_for(event.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    def ended(self, execution_id: ExecutionId) -> None:
        """Wake everyone who waits for this execution."""
        event = self._events.pop(execution_id, None)
        if event is not None:
            event.set()
