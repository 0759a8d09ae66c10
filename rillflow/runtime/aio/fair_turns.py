"""What one turn of the event loop computes for executions, and whose events come next.

Handling an event is computation, and nothing else happens in the process meanwhile. So a turn
of the loop takes events until some milliseconds are spent; then it gives the loop back. What
waits after that comes one portion a turn: of the execution that has had the least, so that
one whose events are long holds up itself.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import count
from math import inf
from typing import Final, TypeAlias, TypeVar

from rillflow.ids import ExecutionId
from rillflow.ports.executions import Call, Reply

TURN_S: Final = 0.025
"""After so much the loop is given back; one event is never divided."""
COUNTED_S: Final = 0.001
"""Events that are shorter are measured together, and held against the execution of the last."""
OLDEST_EVERY: Final = 8
"""So often the one that has waited longest comes next, whatever its execution has had."""
Portion: TypeAlias = Callable[[Sequence[Call]], Awaitable[list[Reply]]]
"""Takes calls from the first on; the replies are as many as were taken, and at least one."""
Handled = TypeVar("Handled")


class FairTurns:
    """Divides the turns of the running event loop among executions."""

    def __init__(
        self,
        cpu_s: Callable[[], float] = time.thread_time,
        clock_s: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Measure by ``cpu_s``, seconds of processor time of this thread.

        That takes a microsecond to read, so it is read only when ``clock_s`` says that enough
        time has passed. What other callbacks computed since it was read before may be in it; it
        is never more than the time that has passed.
        """
        self._cpu_s = cpu_s
        self._clock_s = clock_s
        self._cpu_read_s = -inf
        self._turn_s = 0.0
        self._is_full = False
        self._is_watched = False
        self._spent_s: dict[ExecutionId, float] = {}
        self._waiting: dict[ExecutionId, deque[tuple[int, asyncio.Future[None]]]] = {}
        self._numbers = count()
        self._handed_on = 0

    async def wait(self, execution_id: ExecutionId) -> None:
        """Wait until events of an execution may be handled: at once, unless a turn was full."""
        if not self._is_full:
            return
        came = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(execution_id, deque()).append((next(self._numbers), came))
        await came

    def take(
        self, calls: Sequence[Call], handle: Callable[[Call], Handled], *, whole: bool
    ) -> list[Handled]:
        """Handle calls until the turn is full; all of them if they must be taken ``whole``."""
        self._watch()
        handled: list[Handled] = []
        looked_s = self._clock_s()
        for call in calls:
            handled.append(handle(call))
            now_s = self._clock_s()
            if now_s - looked_s < COUNTED_S:
                continue
            self._charge(call.execution_id, self._computed_s(now_s - looked_s))
            looked_s = now_s
            if self._turn_s >= TURN_S:
                self._is_full = True
                if not whole:
                    break
        return handled

    async def spread(self, execution_id: ExecutionId, work: Iterator[None]) -> None:
        """Do the work of one execution to its end, in as many turns as it takes.

        Each step of the iterator is one piece, which is never divided.
        """
        is_over = False
        while not is_over:
            await self.wait(execution_id)
            self._watch()
            is_over = self._fill(execution_id, work)

    def _fill(self, execution_id: ExecutionId, work: Iterator[None]) -> bool:
        """Do pieces of work until the turn is full; tell whether that was all of them."""
        looked_s = self._clock_s()
        for _ in work:
            now_s = self._clock_s()
            if now_s - looked_s < COUNTED_S:
                continue
            self._charge(execution_id, self._computed_s(now_s - looked_s))
            looked_s = now_s
            if self._turn_s >= TURN_S:
                self._is_full = True
                return False
        return True

    def _computed_s(self, passed_s: float) -> float:
        """Return how much of the time that has passed was computation."""
        before_s, self._cpu_read_s = self._cpu_read_s, self._cpu_s()
        return min(passed_s, self._cpu_read_s - before_s)

    def _charge(self, execution_id: ExecutionId, spent_s: float) -> None:
        self._turn_s += spent_s
        self._spent_s[execution_id] = self._spent_s.get(execution_id, 0.0) + spent_s

    def _watch(self) -> None:
        if not self._is_watched:
            self._is_watched = True
            asyncio.get_running_loop().call_soon(self._next_turn)

    def _next_turn(self) -> None:
        """Let one of those that wait go on in the turn that follows, where any do."""
        self._is_watched = False
        self._turn_s = 0.0
        came = self._next()
        if came is None:
            self._is_full = False
            self._spent_s.clear()
        else:
            self._handed_on += 1
            came.set_result(None)
            self._watch()

    def _next(self) -> "asyncio.Future[None] | None":
        while self._waiting:
            execution_id = min(self._waiting, key=self._place)
            queue = self._waiting[execution_id]
            _, came = queue.popleft()
            if not queue:
                del self._waiting[execution_id]
            if not came.done():
                return came
        return None

    def _place(self, execution_id: ExecutionId) -> tuple[float, int]:
        number, _ = self._waiting[execution_id][0]
        is_turn_of_oldest = self._handed_on % OLDEST_EVERY == OLDEST_EVERY - 1
        return (0.0 if is_turn_of_oldest else self._spent_s.get(execution_id, 0.0), number)


async def in_portions(calls: Sequence[Call], take: Portion) -> list[Reply]:
    """Have a batch taken in portions; the replies come in its order.

    What remains of the execution that filled a turn comes after what the others have there;
    events of one execution stay in their order.
    """
    replies = await take(calls) if calls else []
    if len(replies) == len(calls):
        return replies
    by_number = dict(enumerate(replies))
    last, numbers = calls[len(replies) - 1], list(range(len(replies), len(calls)))
    while numbers:
        numbers.sort(key=lambda number: calls[number].execution_id == last.execution_id)
        taken = await take([calls[number] for number in numbers])
        by_number.update(zip(numbers, taken, strict=False))
        last, numbers = calls[numbers[len(taken) - 1]], numbers[len(taken) :]
    return [by_number[number] for number in range(len(calls))]
