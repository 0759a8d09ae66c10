"""Calls that wait for a Ray task, in turn by workspace and execution.

Used by `ray_tasks/limits/task_queue.py`.
"""

from collections import OrderedDict
from collections.abc import Callable
from itertools import islice
from typing import Final, Generic, Protocol, TypeAlias, TypeVar

from rillflow.gateways.limits.concurrency import Caller
from rillflow.ray_tasks.limits.node_resources import Demand

MOST_LOOKED_AT: Final = 64
"""Of so many groups of a workspace, or workspaces of a group, it is looked at once which may go."""


class CallGroup(Protocol):
    """Calls that one Ray task may make after each other."""

    @property
    def demand(self) -> Demand:
        """What such a Ray task asks for."""

    def is_open(self) -> bool:
        """Tell whether another Ray task may be started for its calls, if there is room."""

    def __hash__(self) -> int:
        """Be the key of what waits."""


class WaitingCall(Protocol):
    """A call that waits."""

    @property
    def group(self) -> CallGroup:
        """The group in which it waits."""

    @property
    def caller(self) -> Caller:
        """The workspace and the execution for which it is made."""


W = TypeVar("W", bound=WaitingCall)
_Calls: TypeAlias = "OrderedDict[W, None]"
_Turns: TypeAlias = "OrderedDict[str, _Calls[W]]"


class WaitingTasks(Generic[W]):
    """Waiting calls, by workspace, group and execution; each of these in turn."""

    def __init__(self) -> None:
        self._workspaces: OrderedDict[str, OrderedDict[CallGroup, _Turns[W]]] = OrderedDict()
        self._in_group: dict[CallGroup, OrderedDict[str, None]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, waiter: W) -> None:
        """Add a call behind those of its execution in its group."""
        group, (workspace, execution) = waiter.group, waiter.caller
        groups = self._workspaces.setdefault(workspace, OrderedDict())
        turns = groups.setdefault(group, OrderedDict())
        turns.setdefault(execution, OrderedDict())[waiter] = None
        self._in_group.setdefault(group, OrderedDict())[workspace] = None
        self._count += 1

    def remove(self, waiter: W) -> None:
        """Remove a call, if it waits."""
        group, (workspace, execution) = waiter.group, waiter.caller
        groups = self._workspaces.get(workspace)
        turns = groups.get(group) if groups is not None else None
        calls = turns.get(execution) if turns is not None else None
        if turns is None or calls is None or waiter not in calls:
            return
        del calls[waiter]
        self._count -= 1
        if not calls:
            del turns[execution]
        if not turns:
            self._leave(workspace, group)

    def waits_in(self, group: CallGroup) -> bool:
        """Tell whether a call waits in a group."""
        return group in self._in_group

    def next_of(self, group: CallGroup, may_begin: Callable[[str], bool]) -> W | None:
        """Take the next call of a group: that of another workspace, of another execution in it.

        Only workspaces whose calls may begin have a turn.
        """
        for workspace in islice(self._in_group.get(group, ()), MOST_LOOKED_AT):
            if may_begin(workspace):
                return self._take(workspace, group)
        return None

    def next_with_room(
        self, has_room: Callable[[CallGroup, str], bool], share_of: Callable[[str], float]
    ) -> W | None:
        """Take the next call for which there is room: that of the workspace with least share."""
        for workspace in sorted(self._workspaces, key=share_of):  # equal ones stay in turn
            groups = self._workspaces[workspace]
            for group in list(islice(groups, MOST_LOOKED_AT)):
                if has_room(group, workspace):
                    return self._take(workspace, group)
                groups.move_to_end(group)  # so that all come into view
        return None

    def _take(self, workspace: str, group: CallGroup) -> W:
        groups = self._workspaces[workspace]
        turns = groups[group]
        execution, calls = turns.popitem(last=False)
        waiter, _ = calls.popitem(last=False)
        self._count -= 1
        if calls:
            turns[execution] = calls
        self._workspaces.move_to_end(workspace)
        groups.move_to_end(group)
        self._in_group[group].move_to_end(workspace)
        if not turns:
            self._leave(workspace, group)
        return waiter

    def _leave(self, workspace: str, group: CallGroup) -> None:
        groups = self._workspaces[workspace]
        del groups[group]
        if not groups:
            del self._workspaces[workspace]
        workspaces = self._in_group[group]
        del workspaces[workspace]
        if not workspaces:
            del self._in_group[group]
