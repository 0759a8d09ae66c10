"""Summaries of executions that streams show: asked for once, however many streams show one.

Used by `serve/routes/console_api/streams.py`.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from rillflow.ids import ExecutionId

STALE_S: Final = 300.0
"""How long a summary counts without a change; it is asked for again to see a removal."""

Ask = Callable[[ExecutionId], Awaitable[bytes | None]]


class ShownSummary(NamedTuple):
    """What streams tell of a summary: the number of its last event, None for no execution."""

    body: bytes | None
    seq: int | None
    event: bytes


class SharedSummary:
    """The summary of one execution, for all streams of this process that show it.

    ``told`` is what they have made of the last one, once for all of them.
    """

    def __init__(self, execution_id: ExecutionId, ask: Ask) -> None:
        self.users = 0
        self.told: ShownSummary | None = None
        self._execution_id = execution_id
        self._ask = ask
        self._number = 0
        self._asked_s = 0.0
        self._answer: asyncio.Task[bytes | None] | None = None

    async def at(self, number: int, stale_s: float = STALE_S) -> bytes | None:
        """Return the summary with the changes of a batch and those before; None if it is unknown.

        It is asked for only if nobody has asked since that batch, or in the last ``stale_s``.

        Raises:
            RillflowError: It could not be read; the next call asks again.
        """
        answer = self._answer
        if answer is None or self._number < number or self._is_old(answer, stale_s):
            self._number, self._asked_s = number, time.monotonic()
            answer = self._answer = asyncio.create_task(self._asked(), name="summary")
        # A stream that is closed does not take the answer from the others.
        return await asyncio.shield(answer)

    def _is_old(self, answer: "asyncio.Task[bytes | None]", stale_s: float) -> bool:
        if not answer.done():
            return False
        has_failed = answer.cancelled() or answer.exception() is not None
        return has_failed or time.monotonic() - self._asked_s >= stale_s

    async def _asked(self) -> bytes | None:
        return await self._ask(self._execution_id)


class SharedSummaries:
    """The summaries that streams of this process show now."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._shown: dict[ExecutionId, SharedSummary] = {}

    def __contains__(self, execution_id: ExecutionId) -> bool:
        return execution_id in self._shown

    @asynccontextmanager
    async def shown(self, execution_id: ExecutionId) -> AsyncIterator[SharedSummary]:
        """Share the summary of an execution for as long as a stream is open."""
        shared = self._shown.setdefault(execution_id, SharedSummary(execution_id, self._ask))
        shared.users += 1
        try:
            yield shared
        finally:
            shared.users -= 1
            if not shared.users:
                del self._shown[execution_id]
