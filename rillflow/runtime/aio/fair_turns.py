"""Fair scheduling of computation: how a batch is divided, and how long one turn handles it.

Handling an event is computation, and nothing else runs in the process meanwhile. So one turn of the
loop handles events for some milliseconds, and then returns to the loop. Waiting events follow, one
portion a turn, first those of the workspace that has used least, and of its executions the one that
has used least. Long events thus delay their own execution first, and then others of its workspace.

A short call of another workspace passes through the loop several times on its way: it is received,
handled, written and answered. A portion of long events each time would make it wait for as many of
them. So before a workspace that has filled a turn has the next one, the loop goes round some times
without a portion, and while calls of workspaces that have used less are being written, it rests for
as long as it has held the loop at most. After an event that is longer than a turn it rests for what
was too much of it, if others have written lately: their next call comes soon.

A batch of calls is divided before that: calls that must be written apart form groups.

Used by `runtime/activation/cache.py`, `runtime/aio/large_texts.py` and
`runtime/owner/execution_owner.py`.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Container, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from itertools import count, zip_longest
from math import inf
from typing import Final, TypeAlias, TypeVar

from rillflow.ids import ExecutionId, workspace_of
from rillflow.ports.executions import Call, Reply, Submission
from rillflow.triggers.origins import PREFIX

TURN_S: Final = 0.025
"""The computation of one turn; an event that takes longer is interrupted."""
COUNTED_S: Final = 0.001
"""Shorter events are measured together, and charged to the execution of the last."""
OLDEST_EVERY: Final = 8
"""Every so many portions the longest waiting one comes first, whatever its workspace used."""
LIGHT_TURNS: Final = 3
"""So many turns of the loop without a portion come before the next one of a workspace."""
LONG_S: Final = 0.005
"""Shorter portions are not noticed by those whose calls pass through the loop."""
SEEN_S: Final = 1.0
"""For so long after its last write another workspace counts as one that uses this process."""
KEYED_TOGETHER: Final = 16
"""How many submissions of a workspace with idempotency keys are written together."""
FIRED_TOGETHER: Final = 128
"""The same of submissions of triggers, whose keys nobody else can have taken."""
Portion: TypeAlias = Callable[[Sequence[Call]], Awaitable[list[Reply]]]
"""Handles calls from the first on; returns as many replies as it handled, at least one."""
Handled = TypeVar("Handled")


_Waiting: TypeAlias = "dict[ExecutionId, deque[tuple[int, asyncio.Future[None]]]]"
"""By execution, those first whose turn is longer ago."""


class Unfinished:
    """What a call has come to that was interrupted; the rest of it is for a later turn."""

    __slots__ = ()


class FairTurns:
    """Divides the turns of the running event loop among workspaces, and among their executions."""

    def __init__(
        self,
        cpu_s: Callable[[], float] = time.thread_time,
        clock_s: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Measure by ``cpu_s``, seconds of processor time of this thread.

        Reading it takes a microsecond, so it is read only if enough time has passed by ``clock_s``.
        The result may include what other callbacks computed since the last reading; it is never
        more than the time that has passed.
        """
        self._cpu_s = cpu_s
        self.clock_s = self._clock_s = clock_s
        """Seconds of some clock."""
        self._cpu_read_s = -inf
        self._turn_s = 0.0
        self.is_full = False
        """Whether events must wait for another turn."""
        self._is_watched = False
        self._spent_s: dict[str, float] = {}
        """By workspace and by execution; the id of an execution has a colon, a workspace none."""
        self._waiting: dict[str, _Waiting] = {}
        self._numbers = count()
        self._handed_on = 0
        self._in_hand = Counter[str]()
        self._last = ""
        """The workspace that had a long portion last."""
        self._held_s = self._rest_s = 0.0
        """For how long this turn, and the last one that was long, has held the loop."""
        self._excess_s = 0.0
        """For how long that was more than a turn."""
        self._written = [("", -inf), ("", -inf)]
        """Which two workspaces have written last, and when."""
        self._light_turns = LIGHT_TURNS
        self._rest: asyncio.TimerHandle | None = None
        self._has_rested = False

    @contextmanager
    def in_hand(self, execution_id: ExecutionId) -> Iterator[None]:
        """Note that calls of the workspace of an execution are being written meanwhile."""
        workspace = workspace_of(execution_id)
        self._in_hand[workspace] += 1
        try:
            yield
        finally:
            self._in_hand[workspace] -= 1
            if not self._in_hand[workspace]:
                del self._in_hand[workspace]
                self._note_written(workspace)
                if self._rest is not None:
                    self._watch()

    def _note_written(self, workspace: str) -> None:
        if self._written[0][0] != workspace:
            self._written[1] = self._written[0]
        self._written[0] = workspace, asyncio.get_running_loop().time()

    async def wait(self, execution_id: ExecutionId) -> None:
        """Wait until events of an execution may be handled: at once, unless the turn is full."""
        if not self.is_full:
            return
        came = asyncio.get_running_loop().create_future()
        self._watch()
        waiting = self._waiting.setdefault(workspace_of(execution_id), {})
        waiting.setdefault(execution_id, deque()).append((next(self._numbers), came))
        await came

    def take(
        self, calls: Sequence[Call], handle: Callable[[Call], Handled], *, whole: bool
    ) -> list[Handled]:
        """Handle calls until the turn is full; all of them with ``whole``.

        The turn is full after a call that was interrupted.
        """
        self._watch()
        handled: list[Handled] = []
        looked_s = self._clock_s()
        for call in calls:
            outcome = handle(call)
            handled.append(outcome)
            now_s = self._clock_s()
            if now_s - looked_s < COUNTED_S:
                continue
            self._charge(call.execution_id, self._computed_s(now_s - looked_s))
            looked_s = now_s
            is_interrupted = isinstance(outcome, Unfinished)
            if self._turn_s >= TURN_S or is_interrupted:
                self.is_full = True
                if is_interrupted or not whole:
                    break
        return handled

    async def spread(self, execution_id: ExecutionId, work: Iterator[None]) -> None:
        """Do the work of one execution to its end, in as many turns as it takes.

        Each step of the iterator is one piece, which is not divided.
        """
        is_over = False
        while not is_over:
            await self.wait(execution_id)
            self._watch()
            is_over = self._fill(execution_id, work)

    def _fill(self, execution_id: ExecutionId, work: Iterator[None]) -> bool:
        """Run pieces of work until the turn is full; return whether none is left."""
        looked_s = self._clock_s()
        for _ in work:
            now_s = self._clock_s()
            if now_s - looked_s < COUNTED_S:
                continue
            self._charge(execution_id, self._computed_s(now_s - looked_s))
            looked_s = now_s
            if self._turn_s >= TURN_S:
                self.is_full = True
                return False
        return True

    def _computed_s(self, passed_s: float) -> float:
        """Return how much of the time that has passed was computation."""
        before_s, self._cpu_read_s = self._cpu_read_s, self._cpu_s()
        self._held_s += passed_s
        return min(passed_s, self._cpu_read_s - before_s)

    def _charge(self, execution_id: ExecutionId, spent_s: float) -> None:
        self._turn_s += spent_s
        for spender in (execution_id, workspace_of(execution_id)):
            self._spent_s[spender] = self._spent_s.get(spender, 0.0) + spent_s
        if self._turn_s >= LONG_S:
            self._last, self._rest_s = workspace_of(execution_id), self._held_s
            self._excess_s = self._held_s * (1 - TURN_S / self._turn_s)
            self._light_turns, self._has_rested = 0, False

    def _watch(self) -> None:
        if not self._is_watched:
            self._is_watched = True
            asyncio.get_running_loop().call_soon(self._next_turn)

    def _next_turn(self) -> None:
        """Let one waiting execution continue in the next turn."""
        self._is_watched = False
        workspace = self._next_workspace()
        if self._lets_others_pass(self._last if workspace is None else workspace):
            return
        self._turn_s = self._held_s = 0.0
        if workspace is None:
            self.is_full = False
            self._spent_s.clear()
            return
        came = self._take_off(workspace)
        if not came.done():
            self._handed_on += 1
            came.set_result(None)
        self._watch()

    def _lets_others_pass(self, workspace: str) -> bool:
        """Tell whether a workspace that has spent has its portion later; this is called again then.

        Once it has rested it goes on, whatever others have in hand.
        """
        spent_s = self._spent_s.get(workspace, 0.0)
        if spent_s < LONG_S:
            return False
        if self._light_turns < LIGHT_TURNS:
            self._light_turns += 1
            self._watch()
            return True
        if self._rest is None:
            rest_s = self._rest_of(spent_s) if self.is_full else 0.0
            if rest_s <= 0.0 or self._has_rested:
                return False
            self._rest = asyncio.get_running_loop().call_later(rest_s, self._end_rest)
        elif not self._rest_of(spent_s):
            self._end_rest()  # what others had in hand is to be answered
            self._light_turns = 0
        return True

    def _rest_of(self, spent_s: float) -> float:
        """Return for how long a workspace rests if it begins to now; 0 if it need not."""
        if any(2 * self._spent_s.get(other, 0.0) < spent_s for other in self._in_hand):
            return self._rest_s
        since_s = asyncio.get_running_loop().time() - SEEN_S
        for other, at_s in self._written:
            if at_s > since_s and 2 * self._spent_s.get(other, 0.0) < spent_s:
                return self._excess_s if self._excess_s > COUNTED_S else 0.0
        return 0.0

    def _end_rest(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        self._has_rested = True
        self._watch()

    def _next_workspace(self) -> str | None:
        """Return the workspace of which one execution continues next, None if none waits."""
        if not self._waiting:
            return None
        oldest = {each: _oldest(waiting) for each, waiting in self._waiting.items()}
        spent_s = {} if self._is_turn_of_oldest() else self._spent_s
        return min(oldest, key=lambda each: (spent_s.get(each, 0.0), oldest[each]))

    def _is_turn_of_oldest(self) -> bool:
        return self._handed_on % OLDEST_EVERY == OLDEST_EVERY - 1

    def _take_off(self, workspace: str) -> "asyncio.Future[None]":
        """Take off the execution of a workspace that continues next."""
        executions = self._waiting[workspace]
        execution_id = self._next_execution(executions)
        queue = executions.pop(execution_id)
        _, came = queue.popleft()
        if queue:
            executions[execution_id] = queue  # now the last one
        elif not executions:
            del self._waiting[workspace]
        return came

    def _next_execution(self, executions: _Waiting) -> ExecutionId:
        """Return the first that has spent nothing, or the one that has spent least."""
        if self._is_turn_of_oldest():
            return next(iter(executions))
        spent_s = self._spent_s
        fresh = next((each for each in executions if each not in spent_s), None)
        return fresh or min(executions, key=lambda each: spent_s.get(each, 0.0))


def _oldest(waiting: _Waiting) -> int:
    """Return the number of the one that has waited about longest; numbers rise."""
    return next(iter(waiting.values()))[0][0]


async def in_portions(calls: Sequence[Call], take: Portion) -> list[Reply]:
    """Handle a batch in portions; the replies are in its order.

    The remaining calls of the workspace that filled a turn follow those of the others, and of these
    the calls of the execution that filled it come last. Events of one execution keep their order.
    """
    replies = await take(calls) if calls else []
    if len(replies) == len(calls):
        return replies
    by_number = dict(enumerate(replies))
    last, numbers = calls[len(replies) - 1], list(range(len(replies), len(calls)))
    while numbers:
        numbers.sort(key=partial(_nearness, calls, last.execution_id))
        taken = await take([calls[number] for number in numbers])
        by_number.update(zip(numbers, taken, strict=False))
        last, numbers = calls[numbers[len(taken) - 1]], numbers[len(taken) :]
    return [by_number[number] for number in range(len(calls))]


def _nearness(calls: Sequence[Call], execution_id: ExecutionId, number: int) -> tuple[bool, bool]:
    """Tell whether a call is for the workspace of an execution, and for this execution."""
    other = calls[number].execution_id
    return workspace_of(other) == workspace_of(execution_id), other == execution_id


_IN_MEMORY: Final = "in memory"
_UNREAD: Final = "unread"
Take: TypeAlias = Callable[[Sequence[Call]], Awaitable[list[Reply]]]
Context: TypeAlias = AbstractContextManager[None]
Kept: TypeAlias = Callable[[ExecutionId], Context | None]
"""What keeps an execution in memory while its calls are handled; None for a small one."""


def in_groups(
    calls: Sequence[Call],
    unread: Callable[[Sequence[Call]], AbstractSet[ExecutionId]],
    take: Take,
    kept: Kept | None = None,
) -> Awaitable[list[Reply]]:
    """Handle a batch in groups; the replies are in its order.

    ``unread`` returns the executions of calls that must be read first. The store refuses a
    submission whose idempotency key is taken, with all that is written with it, which is then
    written one by one. So such submissions are written apart from the other calls, a few of one
    workspace together. Executions that must be read first may have long journals, so their calls
    form one group of their own; a write for each would take five times as long. Only those of
    which ``kept`` returns a context have a group each, handled in that context.
    """
    if len(calls) < 2:
        return take(calls)
    cold = unread(calls)
    found = [(each, kept(each)) for each in cold] if kept is not None and cold else []
    contexts: dict[object, Context] = {each: context for each, context in found if context}
    groups = _groups_of(calls, cold, contexts)
    if contexts:
        return in_several(calls, list(groups.values()), take, [contexts.get(key) for key in groups])
    return take(calls) if len(groups) < 2 else in_several(calls, list(groups.values()), take)


async def in_several(
    calls: Sequence[Call],
    groups: Sequence[Sequence[int]],
    take: Take,
    contexts: Sequence[Context | None] = (),
) -> list[Reply]:
    """Handle groups of calls, given by their places, side by side; replies in the batch's order.

    A group may have a context in which it is handled.
    """
    answered = await asyncio.gather(
        *(
            _taken_within(context, [calls[number] for number in group], take)
            for group, context in zip_longest(groups, contexts)
        )
    )
    by_number = {
        number: reply
        for group, replies in zip(groups, answered, strict=True)
        for number, reply in zip(group, replies, strict=True)
    }
    return [by_number[number] for number in range(len(calls))]


async def _taken_within(context: Context | None, calls: Sequence[Call], take: Take) -> list[Reply]:
    with context or nullcontext():
        return await take(calls)


def _groups_of(
    calls: Sequence[Call], unread: AbstractSet[ExecutionId], apart: Container[object]
) -> dict[object, list[int]]:
    """Return the places of calls by group; those of one execution keep their order."""
    keyed = dict(_places_of_keyed(calls, unread))
    if not unread and not keyed:
        return {}
    groups: dict[object, list[int]] = {}
    for number, call in enumerate(calls):
        execution_id = call.execution_id
        cold = execution_id if execution_id in apart else _UNREAD
        group = keyed.get(number) or (cold if execution_id in unread else _IN_MEMORY)
        groups.setdefault(group, []).append(number)
    return groups


def _places_of_keyed(
    calls: Sequence[Call], unread: AbstractSet[ExecutionId]
) -> Iterator[tuple[int, object]]:
    """Yield the place and the group of each submission with an idempotency key.

    One whose key is in the batch already loses, and one that may be stored may be refused: each of
    these is a group of its own.
    """
    taken: set[tuple[str, str, str]] = set()
    counts: dict[tuple[str, bool], int] = {}
    for number, call in enumerate(calls):
        if not isinstance(call, Submission) or call.idempotency_key is None:
            continue
        key = call.business, call.feature, call.idempotency_key
        if key in taken or call.execution_id in unread:
            yield number, ("alone", number)
            continue
        taken.add(key)
        kind = call.business, call.idempotency_key.startswith(PREFIX)
        count = counts[kind] = counts.get(kind, 0) + 1
        most = FIRED_TOGETHER if kind[1] else KEYED_TOGETHER
        yield number, ("together", kind, (count - 1) // most)
