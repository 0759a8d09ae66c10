"""Slots that callers take in turn, with fair shares for workspaces and executions.

Used by `gateways/http_client/resolver.py`, `gateways/limits` and `ray_tasks`; its shares are those
of unanswered calls, too (`runtime/backpressure/admission.py`).
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol, TypeAlias

from rillflow.ids import workspace_of
from rillflow.ports.gateway import DispatchRequest

SHARE: Final = 8
"""A caller may have this many times as many slots as it leaves free."""

LEAST_SHARED: Final = 16
"""Fewer slots than these are given in turn, but none are reserved for others."""


class Caller(NamedTuple):
    """The caller of a call: a workspace, and an execution with all its sub-flows."""

    workspace: str
    execution: str


_NOBODY: Final = Caller("", "")


class Waiting(Protocol):
    """What waits for a slot, as a future does: it is done once it was given up."""

    def done(self) -> bool:
        """Tell whether it waits no more."""
        ...

    def set_result(self, result: None, /) -> None:
        """Take the slot; nothing of these slots may be asked for meanwhile."""
        ...


class Queue(deque[Waiting]):
    """The waiting calls of one execution; ``given_up`` of them wait no more."""

    __slots__ = ("given_up",)

    def __init__(self) -> None:
        super().__init__()
        self.given_up = 0


Queues: TypeAlias = OrderedDict[Caller, Queue]
"""Waiting calls of a workspace by execution, in the order of their turns."""


def caller_of(request: DispatchRequest) -> Caller:
    """Return the caller of a call; sub-flows count for the execution that started the family."""
    route, execution_id = request.route, request.execution_id
    return Caller(workspace_of(execution_id), route[0][0] if route else execution_id)


class FairSlots:
    """Slots that callers take in turn; some are always left to others.

    A call may last for an hour, so turns alone would not be fair: the first caller could hold all
    slots for that long. So a workspace has at most eight times as many slots as it leaves free,
    that is eight ninths of all; the next one has eight ninths of the rest, and so on. In the same
    way an execution has eight ninths of what its workspace may have.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._is_shared = limit >= LEAST_SHARED
        # Up to here every caller may have a slot, whoever has the others.
        self._many = limit * 3 // 4 if self._is_shared else limit
        self._used = 0
        self._of_workspace: dict[str, int] = {}
        self._of_execution: dict[Caller, int] = {}
        self._waiting: OrderedDict[str, Queues] = OrderedDict()

    async def acquire(self, caller: Caller) -> None:
        """Take a slot, or wait for one."""
        if not self.enter(caller):
            await self.wait(caller)

    def enter(self, caller: Caller) -> bool:
        """Take a slot if there is one, and tell so."""
        if self._used >= self._many and not self._may_enter(caller):
            return False
        # Waiting callers cannot have a slot now, or they would have it, so nobody is overtaken.
        self._used += 1
        workspaces, executions, workspace = self._of_workspace, self._of_execution, caller[0]
        workspaces[workspace] = workspaces.get(workspace, 0) + 1
        executions[caller] = executions.get(caller, 0) + 1
        return True

    async def wait(self, caller: Caller) -> None:
        """Wait for a slot, where there was none."""
        granted = asyncio.get_running_loop().create_future()
        self.add(caller, granted)
        try:
            await granted
        except BaseException:
            if granted.done() and not granted.cancelled():
                self.release(caller)
            else:
                self.give_up(caller)
            raise

    def add(self, caller: Caller, waiter: Waiting) -> None:
        """Have something wait for a slot, where there was none."""
        queues = self._waiting.get(caller.workspace)
        if queues is None:
            queues = self._waiting[caller.workspace] = OrderedDict()
        queue = queues.get(caller)
        if queue is None:
            queue = queues[caller] = Queue()
        queue.append(waiter)

    def give_up(self, caller: Caller) -> None:
        """Note that something waits no more, which is done; it is dropped in time."""
        queues = self._waiting.get(caller.workspace)
        queue = None if queues is None else queues.get(caller)
        if queues is None or queue is None:
            return
        queue.given_up += 1
        if 2 * queue.given_up < len(queue):
            return
        left = [waiter for waiter in queue if not waiter.done()]
        queue.clear()
        queue.extend(left)
        queue.given_up = 0
        if not queue:
            del queues[caller]
            if not queues:
                del self._waiting[caller.workspace]

    def waiting(self) -> Iterator[Waiting]:
        """Yield what waits for a slot."""
        for queues in self._waiting.values():
            for queue in queues.values():
                yield from queue

    def release(self, caller: Caller) -> None:
        """Release a slot, to the next caller that may have it."""
        self._used -= 1
        workspaces, executions, workspace = self._of_workspace, self._of_execution, caller[0]
        if (left := workspaces[workspace] - 1) > 0:
            workspaces[workspace] = left
        else:
            del workspaces[workspace]
        if (left := executions[caller] - 1) > 0:
            executions[caller] = left
        else:
            del executions[caller]
        if self._waiting:
            self._grant_after(caller)

    def _may_enter(self, caller: Caller) -> bool:
        if not self._is_shared:
            return self._used < self._limit
        room = self._room_of(caller.workspace)
        return room > 0 and self._of_execution.get(caller, 0) < SHARE * room

    def _room_of(self, workspace: str) -> int:
        """Return how many more slots a workspace may take now."""
        free = self._limit - self._used
        if not self._is_shared:
            return free
        return (SHARE * free - self._of_workspace.get(workspace, 0) + SHARE) // (SHARE + 1)

    def _grant_after(self, released: Caller) -> None:
        """Give away what can be given after a caller has released a slot.

        If it has its slot again, there is no more to give than before.
        """
        granted: Caller | None = None
        while granted != released and (granted := self._grant_next()) is not None:
            pass

    def _grant_next(self) -> Caller | None:
        """Give a slot to the next caller: another workspace, another execution in it.

        Returns:
            Who has it; nobody's name if the next one is still to be found, None if nobody may.
        """
        for workspace, queues in self._waiting.items():
            room = self._room_of(workspace)
            caller = self._next_in(queues, room) if room > 0 else None
            if caller is not None:
                self._grant(workspace, queues, caller)
                return caller
            if not queues:
                del self._waiting[workspace]
                return _NOBODY
        return None

    def _grant(self, workspace: str, queues: Queues, caller: Caller) -> None:
        """Give a slot to the first call of a caller, who is the last one to have a turn then."""
        # As in ``enter``, which each call passes twice: a method for both would cost it more.
        self._used += 1
        self._of_workspace[workspace] = self._of_workspace.get(workspace, 0) + 1
        self._of_execution[caller] = self._of_execution.get(caller, 0) + 1
        queue = queues[caller]
        waiter = queue.popleft()
        if queue:
            queues.move_to_end(caller)
        else:
            del queues[caller]
        if queues:
            self._waiting.move_to_end(workspace)
        else:
            del self._waiting[workspace]
        waiter.set_result(None)

    def _next_in(self, queues: Queues, room: int) -> Caller | None:
        """Return the next execution that may have a slot; drop those without waiting calls."""
        most = SHARE * room if self._is_shared else self._limit
        found, left = None, []
        for caller, queue in queues.items():
            while queue and queue[0].done():
                queue.popleft()
                queue.given_up -= 1
            if not queue:
                left.append(caller)
            elif self._of_execution.get(caller, 0) < most:
                found = caller
                break
        for caller in left:
            del queues[caller]
        return found
