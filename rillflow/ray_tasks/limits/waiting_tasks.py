"""Calls that wait for a Ray task, in turn by workspace and execution.

Used by `ray_tasks/limits/task_queue.py`.
"""

from collections import OrderedDict
from collections.abc import Callable
from itertools import islice
from typing import Final, Generic, Protocol, TypeAlias, TypeVar

from rillflow.gateways.limits.concurrency import Caller
from rillflow.ray_tasks.node_resources import Demand

MOST_LOOKED_AT: Final = 64
"""Of so many lanes of a workspace it is looked at once whether one is open."""


class Lane(Protocol):
    """Calls that one Ray task may make after each other."""

    @property
    def demand(self) -> Demand:
        """What such a Ray task asks for."""

    def is_open(self) -> bool:
        """Tell whether another Ray task may be started for its calls, if there is room."""

    def __hash__(self) -> int:
        """Be the key of what waits."""


class Waiter(Protocol):
    """A call that waits."""

    @property
    def lane(self) -> Lane:
        """The lane in which it waits."""

    @property
    def caller(self) -> Caller:
        """The workspace and the execution for which it is made."""


W = TypeVar("W", bound=Waiter)
_Calls: TypeAlias = "OrderedDict[W, None]"
_Turns: TypeAlias = "OrderedDict[str, _Calls[W]]"


class WaitingTasks(Generic[W]):
    """Waiting calls, by workspace, lane and execution; each of these in turn."""

    def __init__(self) -> None:
        self._workspaces: OrderedDict[str, OrderedDict[Lane, _Turns[W]]] = OrderedDict()
        self._in_lane: dict[Lane, OrderedDict[str, None]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, waiter: W) -> None:
        """Add a call behind those of its execution in its lane."""
        lane, (workspace, execution) = waiter.lane, waiter.caller
        lanes = self._workspaces.setdefault(workspace, OrderedDict())
        turns = lanes.setdefault(lane, OrderedDict())
        turns.setdefault(execution, OrderedDict())[waiter] = None
        self._in_lane.setdefault(lane, OrderedDict())[workspace] = None
        self._count += 1

    def remove(self, waiter: W) -> None:
        """Remove a call, if it waits."""
        lane, (workspace, execution) = waiter.lane, waiter.caller
        lanes = self._workspaces.get(workspace)
        turns = lanes.get(lane) if lanes is not None else None
        calls = turns.get(execution) if turns is not None else None
        if turns is None or calls is None or waiter not in calls:
            return
        del calls[waiter]
        self._count -= 1
        if not calls:
            del turns[execution]
        if not turns:
            self._leave(workspace, lane)

    def waits_in(self, lane: Lane) -> bool:
        """Tell whether a call waits in a lane."""
        return lane in self._in_lane

    def next_of(self, lane: Lane) -> W | None:
        """Take the next call of a lane: that of another workspace, of another execution in it."""
        workspaces = self._in_lane.get(lane)
        return self._take(next(iter(workspaces)), lane) if workspaces else None

    def next_with_room(
        self, has_room: Callable[[Lane], bool], share_of: Callable[[str], float]
    ) -> W | None:
        """Take the next call for which there is room: that of the workspace with least share."""
        for workspace in sorted(self._workspaces, key=share_of):  # equal ones stay in turn
            lanes = self._workspaces[workspace]
            for lane in list(islice(lanes, MOST_LOOKED_AT)):
                if has_room(lane):
                    return self._take(workspace, lane)
                lanes.move_to_end(lane)  # so that all come into view
        return None

    def _take(self, workspace: str, lane: Lane) -> W:
        lanes = self._workspaces[workspace]
        turns = lanes[lane]
        execution, calls = turns.popitem(last=False)
        waiter, _ = calls.popitem(last=False)
        self._count -= 1
        if calls:
            turns[execution] = calls
        self._workspaces.move_to_end(workspace)
        lanes.move_to_end(lane)
        self._in_lane[lane].move_to_end(workspace)
        if not turns:
            self._leave(workspace, lane)
        return waiter

    def _leave(self, workspace: str, lane: Lane) -> None:
        lanes = self._workspaces[workspace]
        del lanes[lane]
        if not lanes:
            del self._workspaces[workspace]
        workspaces = self._in_lane[lane]
        del workspaces[workspace]
        if not workspaces:
            del self._in_lane[lane]
