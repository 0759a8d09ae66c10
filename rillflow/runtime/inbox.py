"""How many submissions from outside may wait at a home of executions."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from rillflow.errors import OverloadedError
from rillflow.ports.executions import Call, Reply, Submission, reply_to_error

MOST_QUEUED: Final = 5_000
MOST_UNANSWERED: Final = 100_000


class Inbox:
    """Counts submissions until they are durable, and refuses those that are too many.

    It takes none while too many calls of the executions that were taken are unanswered.
    Whatever these executions need is not counted and always passes: callbacks, controls,
    reads, and their sub-flows.
    """

    def __init__(
        self,
        most: int = MOST_QUEUED,
        *,
        unanswered: Callable[[], int] = lambda: 0,
        most_unanswered: int = MOST_UNANSWERED,
    ) -> None:
        """Take ``most`` at once while there are fewer than ``most_unanswered`` calls."""
        self._most = most
        self._unanswered = unanswered
        self._most_unanswered = most_unanswered
        self._queued = 0

    @contextmanager
    def place(self, call: Call) -> Iterator[None]:
        """Hold a place for a call.

        Raises:
            OverloadedError: It is a submission, and there is no place for one.
        """
        if not _is_counted(call):
            yield
            return
        if self._queued >= self._most:
            raise OverloadedError(
                f"{self._queued} submissions are waiting, which is the limit; try again later"
            )
        self._queued += 1
        try:
            yield
        finally:
            self._queued -= 1

    async def call_many(
        self, calls: Sequence[Call], take: Callable[[Sequence[Call]], Awaitable[list[Reply]]]
    ) -> list[Reply]:
        """Have calls taken that find a place; the others are refused."""
        counted = [number for number, call in enumerate(calls) if _is_counted(call)]
        is_behind = bool(counted) and self._unanswered() >= self._most_unanswered
        room = 0 if is_behind else max(self._most - self._queued, 0)
        if len(counted) <= room:
            self._queued += len(counted)
            try:
                return await take(calls)
            finally:
                self._queued -= len(counted)
        refused = set(counted[room:])
        taken = [call for number, call in enumerate(calls) if number not in refused]
        answers = iter(await self.call_many(taken, take) if taken else ())
        waits = "calls wait for their answers" if is_behind else "submissions are waiting here"
        full = OverloadedError(f"too many {waits}; try again later")
        return [
            reply_to_error(full) if number in refused else next(answers)
            for number in range(len(calls))
        ]


def _is_counted(call: Call) -> bool:
    return isinstance(call, Submission) and call.event.parent is None
