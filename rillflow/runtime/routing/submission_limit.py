"""The limit of submissions from outside that wait at an owner.

Used by `actors`, `runtime` and `runtime/routing`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TypeAlias

from rillflow.errors import OverloadedError, RillflowError
from rillflow.ids import ExecutionId
from rillflow.ports.executions import Call, Reply, Submission, reply_to_error

MOST_QUEUED: Final = 5_000
MOST_UNANSWERED: Final = 100_000

_CALLS_WAIT: Final = "calls wait for their answers"
_SUBMISSIONS_WAIT: Final = "submissions are waiting here"

Take: TypeAlias = Callable[[Sequence[Call]], Awaitable[list[Reply]]]
IsKnown: TypeAlias = Callable[[ExecutionId], Awaitable[bool]]


class SubmissionLimit:
    """Counts submissions until they are durable, and refuses those beyond the limit.

    It accepts none while too many calls of the accepted executions are unanswered. What these
    executions need is not counted and always passes: callbacks, controls, reads, and their
    sub-flows.
    """

    def __init__(
        self,
        most: int = MOST_QUEUED,
        *,
        unanswered: Callable[[], int] = lambda: 0,
        most_unanswered: int = MOST_UNANSWERED,
    ) -> None:
        """Accept ``most`` at once while there are fewer than ``most_unanswered`` calls."""
        self._most = most
        self._unanswered = unanswered
        self._most_unanswered = most_unanswered
        self._queued = 0

    @contextmanager
    def place(self, call: Call) -> Iterator[None]:
        """Hold a place for a call.

        Raises:
            OverloadedError: It is a submission, and there is no place for it.
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

    async def call_many(self, calls: Sequence[Call], take: Take, is_known: IsKnown) -> list[Reply]:
        """Handle the calls that find a place; refuse the others.

        A known submission needs no place: it was accepted before, and its caller lost the answer.
        """
        counted = [number for number, call in enumerate(calls) if _is_counted(call)]
        if not counted:
            return await take(calls)
        is_behind = self._unanswered() >= self._most_unanswered
        room = 0 if is_behind else max(self._most - self._queued, 0)
        placed, others = counted[:room], counted[room:]
        self._queued += len(placed)
        try:
            if not others:
                return await take(calls)
            waits = _CALLS_WAIT if is_behind else _SUBMISSIONS_WAIT
            asked = (_refusal(calls[number].execution_id, is_known, waits) for number in others)
            told = zip(others, await asyncio.gather(*asked), strict=True)
            refusals = {number: refusal for number, refusal in told if refusal is not None}
            taken = [call for number, call in enumerate(calls) if number not in refusals]
            answers = iter(await take(taken) if taken else ())
        finally:
            self._queued -= len(placed)
        return [refusals.get(number) or next(answers) for number in range(len(calls))]


async def _refusal(execution_id: ExecutionId, is_known: IsKnown, waits: str) -> Reply | None:
    """Return the refusal of a submission without a place, None if it is known already."""
    try:
        if await is_known(execution_id):
            return None
    except RillflowError as error:
        return reply_to_error(error)
    return reply_to_error(OverloadedError(f"too many {waits}; try again later"))


def _is_counted(call: Call) -> bool:
    return isinstance(call, Submission) and call.event.parent is None
