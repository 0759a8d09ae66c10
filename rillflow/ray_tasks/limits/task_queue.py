"""The queue of calls that wait for a Ray task: Ray gets as many as the cluster has room for.

Used by `ray_tasks/gateway.py` and `ray_tasks/sharing/shared_tasks.py`.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

from rillflow.gateways.limits.concurrency import Caller
from rillflow.gateways.limits.host_slots import Usage
from rillflow.ray_tasks.limits.input_room import InputRoom
from rillflow.ray_tasks.limits.node_resources import Demand, Node
from rillflow.ray_tasks.limits.task_room import Place, TaskRoom
from rillflow.ray_tasks.limits.waiting_tasks import CallGroup, WaitingCall, WaitingTasks

LOOK_S: Final = 2.0
"""How often it is looked which nodes there are, while there are calls."""

log = logging.getLogger("rillflow.ray_tasks")


class Call(WaitingCall, Protocol):
    """A call that asks for a Ray task."""

    def is_wanted(self) -> bool:
        """Tell whether somebody waits for it, who may have left just now."""

    def begin(self, place: Place) -> None:
        """Start the Ray task, which has this place until it is given back."""


class _PlainGroup(NamedTuple):
    """Calls that have nothing in common but what they ask for; their inputs are small."""

    demand: Demand

    def is_open(self) -> bool:
        return True


class _LargeGroup(NamedTuple):
    """Calls of a workspace with large inputs, which begin while there is room for these."""

    demand: Demand
    workspace: str
    inputs: InputRoom

    def is_open(self) -> bool:
        return self.inputs.has_room(self.workspace)


class _PlaceCall:
    """A call that starts its Ray task itself once it has a place."""

    __slots__ = ("_inputs", "_size_bytes", "caller", "granted", "group")

    def __init__(self, demand: Demand, caller: Caller, inputs: InputRoom, size_bytes: int) -> None:
        self.group: CallGroup = _PlainGroup(demand)
        if size_bytes:
            self.group = _LargeGroup(demand, caller.workspace, inputs)
        self.caller = caller
        self.granted: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        self._inputs = inputs
        self._size_bytes = size_bytes

    def is_wanted(self) -> bool:
        return not self.granted.done()

    def begin(self, place: Place) -> None:
        self._inputs.enter(self._size_bytes, self.caller.workspace)
        self.granted.set_result(place)

    def end(self) -> None:
        self._inputs.leave(self._size_bytes, self.caller.workspace)


class TaskQueue:
    """Gives places in Ray's queue to calls, those of the workspace with least share first.

    The share is that of dominant resource fairness: what a workspace's Ray tasks ask for of the
    resource of which they ask for the largest part.
    """

    def __init__(
        self,
        nodes: Callable[[], Sequence[Node]],
        inputs: InputRoom,
        shares: Mapping[str, float] = MappingProxyType({}),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Ask for the ``nodes`` of the cluster, beside the event loop.

        Some workspaces have no more of them than their ``shares``, from 0 to 1.
        """
        self._nodes = nodes
        self._inputs = inputs
        self._room = TaskRoom(shares, clock)
        self._waiting: WaitingTasks[Call] = WaitingTasks()
        self._watching: asyncio.Task[None] | None = None
        self._is_filling = False

    def ask(self, call: Call) -> None:
        """Have a call begin now, or in its turn."""
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch(), name="nodes")
        group = call.group
        # Whoever waits has no room now, or it would not wait, so nobody is overtaken.
        if self._has_room(group, call.caller.workspace):
            call.begin(self._room.enter(group.demand, call.caller.workspace))
        else:
            self._room.wait(group.demand, call.caller.workspace)
            self._waiting.add(call)

    def forget(self, call: Call) -> None:
        """Forget a call that waits, if it does."""
        self._waiting.remove(call)

    def waits_in(self, group: CallGroup) -> bool:
        """Tell whether a call waits in a group."""
        return self._waiting.waits_in(group)

    def next_of(self, group: CallGroup, place: Place) -> tuple[Call, Place] | None:
        """Take the next call that waits in a group, for a Ray task that has a place already.

        Returns:
            The call, and the place of the Ray task from now on: that of the call's workspace, which
            must have room for it.
        """
        room, demand = self._room, place.demand

        def may_begin(workspace: str) -> bool:
            return workspace == place.workspace or room.may_pass(place, workspace)

        while (call := self._waiting.next_of(group, may_begin)) is not None:
            if call.is_wanted():
                workspace = call.caller.workspace
                if workspace != place.workspace:
                    room.leave(place)
                    place = room.enter(demand, workspace)
                return call, place
        return None

    def leave(self, place: Place) -> None:
        """Give back the place of a Ray task that has ended, to the next call."""
        self._room.leave(place)
        self.fill()

    def fill(self) -> None:
        """Begin the calls for which there is room."""
        if self._is_filling:  # a call that could not be started gives its place back at once
            return
        self._is_filling = True
        try:
            while self._waiting:
                call = self._waiting.next_with_room(self._has_room, self._room.share_of)
                if call is None:
                    break
                if call.is_wanted():
                    call.begin(self._room.enter(call.group.demand, call.caller.workspace))
        finally:
            self._is_filling = False

    @asynccontextmanager
    async def place(
        self,
        demand: Demand,
        caller: Caller,
        is_begun: Callable[[], Awaitable[bool]] | None = None,
        *,
        large_bytes: int = 0,
    ) -> AsyncIterator[None]:
        """Hold a place in Ray's queue, and room for the input, once it is this call's turn.

        Args:
            demand: What its Ray task asks for.
            caller: For whom it is made.
            large_bytes: The size of a large input; those of small ones are not counted.
            is_begun: Tells of a call that has to wait whether Ray runs it already. Then it waits no
                longer.
        """
        call = _PlaceCall(demand, caller, self._inputs, large_bytes)
        self.ask(call)
        try:
            if is_begun is not None and not call.granted.done():
                await self._pass_begun(call, is_begun)
            place = await call.granted
        except BaseException:
            self._waiting.remove(call)
            if call.granted.done() and not call.granted.cancelled():
                call.end()
                self.leave(call.granted.result())
            raise
        try:
            yield
        finally:
            call.end()
            self.leave(place)

    async def _pass_begun(self, call: _PlaceCall, is_begun: Callable[[], Awaitable[bool]]) -> None:
        if await is_begun() and not call.granted.done():
            self._waiting.remove(call)
            call.begin(self._room.enter(call.group.demand, call.caller.workspace))

    def learn(self, nodes: Sequence[Node]) -> None:
        """Learn which nodes there are, and begin the calls for which they have room."""
        self._room.learn(nodes)
        self.fill()

    def usage(self) -> Usage:
        """Return how many Ray tasks have a place, and how many calls wait in vain or for one."""
        in_vain = self._room.in_vain()
        return Usage(self._room.standing - in_vain, len(self._waiting) + in_vain)

    def close(self) -> None:
        """Look at the nodes no more."""
        if self._watching is not None:
            self._watching.cancel()

    def _has_room(self, group: CallGroup, workspace: str) -> bool:
        return group.is_open() and self._room.has_room(group.demand, workspace)

    async def _watch(self) -> None:
        try:
            while True:
                try:
                    self.learn(await asyncio.to_thread(self._nodes))
                except Exception:
                    log.exception("ray_nodes_not_read")
                await asyncio.sleep(LOOK_S)
                if not self._room.standing and not self._waiting:
                    return
        finally:
            self._watching = None
