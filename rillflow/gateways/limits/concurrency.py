"""Concurrency limits, in all and for each host, with fair shares for workspaces and executions.

Used by `gateways/http_client/resolver.py` and `gateways/limits/limiter.py`; its shares are those of
unanswered calls, too (`runtime/backpressure/admission.py`).
"""

import asyncio
from collections import OrderedDict, deque
from typing import Final, NamedTuple, TypeAlias

from rillflow.gateways.limits.rates import Pace, Rates
from rillflow.ids import workspace_of
from rillflow.ports.gateway import DispatchRequest

MOST_RECENT: Final = 1_000
"""Limit of the idle origins that are remembered; the least recently called is dropped first."""

RECENT_S: Final = 600.0
"""How long idle origins are remembered."""

SHARE: Final = 8
"""A caller may have this many times as many slots as it leaves free."""

LEAST_SHARED: Final = 16
"""Fewer slots than these are given in turn, but none are reserved for others."""


class Caller(NamedTuple):
    """The caller of a call: a workspace, and an execution with all its sub-flows."""

    workspace: str
    execution: str


_NOBODY: Final = Caller("", "")


class Usage(NamedTuple):
    """How many calls of an origin are under way, and how many wait.

    ``idle_s`` is the time since the last one ended, None while there is one.
    """

    under_way: int
    waiting: int
    idle_s: float | None = None


Queues: TypeAlias = OrderedDict[Caller, deque[asyncio.Future[None]]]
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
        queues = self._waiting.get(caller.workspace)
        if queues is None:
            queues = self._waiting[caller.workspace] = OrderedDict()
        queue = queues.get(caller)
        if queue is None:
            queue = queues[caller] = deque()
        queue.append(granted)
        try:
            await granted
        except BaseException:
            if granted.done() and not granted.cancelled():
                self.release(caller)
            raise

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
        queue.popleft().set_result(None)
        if queue:
            queues.move_to_end(caller)
        else:
            del queues[caller]
        if queues:
            self._waiting.move_to_end(workspace)
        else:
            del self._waiting[workspace]

    def _next_in(self, queues: Queues, room: int) -> Caller | None:
        """Return the next execution that may have a slot; drop those without waiting calls."""
        most = SHARE * room if self._is_shared else self._limit
        found, left = None, []
        for caller, queue in queues.items():
            while queue and queue[0].done():
                queue.popleft()
            if not queue:
                left.append(caller)
            elif self._of_execution.get(caller, 0) < most:
                found = caller
                break
        for caller in left:
            del queues[caller]
        return found


class HostSlots:
    """Limits calls by origin; a call over a limit waits for its turn.

    The wait comes before the call's time-out starts: a long queue delays calls and does not fail
    them. A call holds a slot of its host while it waits for the rate of that host, so that no calls
    collect behind the rate. It holds no slot of the total meanwhile, so that a slow host takes no
    room from others.
    """

    def __init__(self, *, per_host: int, total: int, rates: Rates) -> None:
        self._per_host = per_host
        self._total = FairSlots(total)
        self._rates = rates
        self._hosts: dict[str, _Host] = {}
        self._recent: OrderedDict[str, float] = OrderedDict()

    def enter(self, origin: str, caller: Caller) -> bool:
        """Take a slot of the origin and one of the total, if nothing is to be waited for."""
        host = self._hosts.get(origin) or _Host(self._per_host, self._rates.pace(origin))
        if host.pace is not None or not host.slots.enter(caller):
            return False
        if not self._total.enter(caller):
            host.slots.release(caller)
            return False
        if not host.users:
            self._hosts[origin] = host
        host.users += 1
        host.under_way += 1
        return True

    async def acquire(self, origin: str, caller: Caller) -> None:
        """Wait for a slot of the origin, for its rate, then for one of the total."""
        host = self._hosts.get(origin)
        if host is None:
            host = self._hosts[origin] = _Host(self._per_host, self._rates.pace(origin))
        host.users += 1
        try:
            if not host.slots.enter(caller):
                await host.slots.wait(caller)
        except BaseException:
            self._leave(origin, host)
            raise
        try:
            if host.pace is not None:
                await host.pace.take()
            if not self._total.enter(caller):
                await self._total.wait(caller)
        except BaseException:
            host.slots.release(caller)
            self._leave(origin, host)
            raise
        host.under_way += 1

    def release(self, origin: str, caller: Caller) -> None:
        """Release a slot; of an idle origin only the time is kept."""
        self._total.release(caller)
        host = self._hosts[origin]
        host.under_way -= 1
        host.slots.release(caller)
        self._leave(origin, host)

    def usage(self) -> dict[str, Usage]:
        """Return the usage of each origin that was used within the last ten minutes."""
        now_s = asyncio.get_running_loop().time()
        while self._recent and now_s - next(iter(self._recent.values())) > RECENT_S:
            self._recent.popitem(last=False)
        idle = {origin: Usage(0, 0, now_s - ended_s) for origin, ended_s in self._recent.items()}
        return idle | {
            origin: Usage(host.under_way, host.users - host.under_way)
            for origin, host in self._hosts.items()
        }

    def _leave(self, origin: str, host: "_Host") -> None:
        host.users -= 1
        if not host.users:
            del self._hosts[origin]
            self._recent[origin] = asyncio.get_running_loop().time()
            self._recent.move_to_end(origin)
            if len(self._recent) > MOST_RECENT:
                self._recent.popitem(last=False)


class _Host:
    """The slots of one origin, and how many calls hold or want one."""

    __slots__ = ("pace", "slots", "under_way", "users")

    def __init__(self, limit: int, pace: Pace | None) -> None:
        self.slots = FairSlots(limit)
        self.pace = pace
        self.users = 0
        self.under_way = 0
