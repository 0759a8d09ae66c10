"""Turns of executions that take several turns of the event loop.

A turn of the core is one computation, which may take as long as its budget allows: seconds. Here
it is interrupted after some milliseconds, and the loop handles events of other workspaces. Until it
is over nobody reads its execution, whose state is neither that before the event nor that after it,
and no further event of its workspace is handled. So each workspace has one such turn at most, and
those that have made much are computed one after the other: only one holds what a turn may hold.

Used by `runtime/activation/cache.py` and `runtime/owner`.
"""

import asyncio
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Final, Generic, TypeVar, cast

from rillflow.core.turn import Turn
from rillflow.ids import ExecutionId, workspace_of
from rillflow.language.budget import PORTION_STEPS, TotalBudget
from rillflow.ports.executions import Call, Delivery, Submission
from rillflow.runtime.aio.fair_turns import FairTurns, Unfinished
from rillflow.runtime.aio.resumable import Interrupted, ResumableWork
from rillflow.runtime.aio.sender_turns import SenderTurns
from rillflow.runtime.crashes.crash_history import CrashHistory

LIGHT_BYTES: Final = 8 << 20
"""Turns that have made less may be under way side by side."""

Outcome = TypeVar("Outcome")
Leased = TypeVar("Leased")
_EVENTS: Final = (Delivery, Submission)


class UnfinishedTurn(Unfinished, Generic[Outcome]):
    """A turn that was interrupted, with all that is computed around it.

    Attributes:
        execution_id: Its execution.
        computation: What is left of it.
    """

    __slots__ = ("computation", "execution_id")

    def __init__(self, execution_id: ExecutionId, computation: Interrupted[Outcome]) -> None:
        self.execution_id = execution_id
        self.computation = computation

    def is_light(self) -> bool:
        """Tell whether it has made so little that others may be under way beside it."""
        budget = self.computation.about
        return isinstance(budget, TotalBudget) and budget.made_bytes < LIGHT_BYTES


def parted(
    handled: "Sequence[Outcome | UnfinishedTurn[Outcome]]",
) -> "tuple[Sequence[Outcome], UnfinishedTurn[Outcome] | None]":
    """Part the outcomes of a batch from the turn that was interrupted, the last if there is one."""
    last = handled[-1]
    if isinstance(last, UnfinishedTurn):
        return cast("Sequence[Outcome]", handled[:-1]), last
    return cast("Sequence[Outcome]", handled), None


class DividedTurns:
    """The turns of one owner that were interrupted.

    Attributes:
        work: Runs the computations of which turns are a part.
        turns: Makes turns of the core that can be interrupted there.
    """

    def __init__(
        self, turns: FairTurns, crashes: CrashHistory, portion_steps: int = PORTION_STEPS
    ) -> None:
        """Have ``turns`` say whose is next, and ``crashes`` record what is computed.

        A turn may be interrupted after each portion of so many steps.
        """
        self.work = ResumableWork(turns.clock_s)
        self._turns = turns
        self._crashes = crashes
        checkpoint = self.work.checkpoint
        self.turns = partial(Turn, on_portion=checkpoint, portion_steps=portion_steps)
        self._executions: dict[ExecutionId, asyncio.Future[None]] = {}
        self._workspaces: dict[str, asyncio.Future[None]] = {}
        self._postponed: dict[ExecutionId, list[Callable[[], None]]] = {}
        self._heavy = SenderTurns(most=sys.maxsize, refusal="never refused")

    # -- who waits ----------------------------------------------------------------------

    @property
    def are_any(self) -> bool:
        """Tell whether any turn is under way."""
        return bool(self._executions)

    def concerns(self, execution_id: ExecutionId) -> bool:
        """Tell whether a turn of an execution is under way, so that nobody may read its state."""
        return execution_id in self._executions

    async def over(self, execution_id: ExecutionId) -> None:
        """Wait until the turn of an execution is over; another may have begun then."""
        await asyncio.wait({self._executions[execution_id]})

    def postpone(self, execution_ids: Iterable[ExecutionId], action: Callable[[], None]) -> bool:
        """Take an action that reads these executions after a turn under way; False if none is."""
        concerned = next(filter(self.concerns, execution_ids), None)
        if concerned is None:
            return False
        self._postponed.setdefault(concerned, []).append(action)
        return True

    def block(self, calls: Sequence[Call]) -> bool:
        """Tell whether calls must wait until a turn under way is over."""
        return bool(self._workspaces) and any(self._waited_for(calls))

    async def unblocked(self, calls: Sequence[Call]) -> None:
        """Wait until turns that block calls are over; others may have begun then."""
        await asyncio.wait(set(self._waited_for(calls)))

    def _waited_for(self, calls: Sequence[Call]) -> Iterable["asyncio.Future[None]"]:
        for call in calls:
            is_event = isinstance(call, _EVENTS)
            workspace, executions = workspace_of(call.execution_id), self._executions
            waited = self._workspaces.get(workspace) if is_event else None
            if waited := waited or executions.get(call.execution_id):
                yield waited

    # -- the rest of a turn -------------------------------------------------------------

    def begin(
        self, take: Callable[[Leased, Call], Outcome], leased: Leased, call: Call
    ) -> "Outcome | UnfinishedTurn[Outcome]":
        """Handle a call with what was leased for it; the turn of an event may be interrupted."""
        if not isinstance(call, _EVENTS):
            return take(leased, call)
        outcome = self.work.run(partial(take, leased, call))
        if not isinstance(outcome, Interrupted):
            return outcome
        execution_id = call.execution_id
        over = asyncio.get_running_loop().create_future()
        self._executions[execution_id] = self._workspaces[workspace_of(execution_id)] = over
        return UnfinishedTurn(execution_id, outcome)

    async def finish(self, unfinished: UnfinishedTurn[Outcome], step: str) -> Outcome:
        """Compute the rest of a turn; ``step`` names it, should the process die of it."""
        execution_id, computation = unfinished.execution_id, unfinished.computation
        await self._spread(execution_id, step, computation.rest(unfinished.is_light))
        return await self.finish_alone(execution_id, step, computation)

    async def finish_alone(
        self, execution_id: ExecutionId, step: str, computation: Interrupted[Outcome]
    ) -> Outcome:
        """Compute the rest of what may make much, while nobody else does that."""
        if not computation.is_over:
            async with self._heavy.turn(workspace_of(execution_id)):
                await self._spread(execution_id, step, computation.rest())
        return computation.outcome()

    async def _spread(self, execution_id: ExecutionId, step: str, parts: Iterator[None]) -> None:
        recorded = self._crashes.each_recorded(execution_id, step, parts)
        await self._turns.spread(execution_id, recorded)

    def end(self, execution_id: ExecutionId) -> None:
        """Note that the turn of an execution is over, and what it led to can be read."""
        over = self._executions.pop(execution_id)
        self._workspaces.pop(workspace_of(execution_id))
        over.set_result(None)
        for action in self._postponed.pop(execution_id, ()):
            action()
