"""Groups of appends that failed as a whole, in halves of which each is committed by itself.

What makes a group fail is in one of them, and nobody knows in which. Halves find it with few
commits: an append that nothing is wrong with is committed with its half. Workspaces are told apart
first, and then take turns, so that nobody waits for the halves of another one. Appends of one
execution keep their order.

Used by `stores/commit_order.py`.
"""

from collections import Counter, deque
from collections.abc import Sequence
from itertools import chain
from typing import Generic, Protocol, TypeVar

from rillflow.ids import ExecutionId, workspace_of
from rillflow.ports.storage.store import Append


class Work(Protocol):
    """What a caller has handed in: appends, or other work, which has none."""

    @property
    def appends(self) -> Sequence[Append]:
        """The appends."""
        ...

    @property
    def is_large(self) -> bool:
        """Whether it writes megabytes, though it has no appends."""
        ...


AnyWork = TypeVar("AnyWork", bound=Work)


class DividedGroups(Generic[AnyWork]):
    """The halves that wait; ``executions`` counts in how many of their appends each one is."""

    def __init__(self) -> None:
        self.executions: Counter[ExecutionId] = Counter()
        self._turns: deque[deque[list[AnyWork]]] = deque()
        self._last: deque[list[AnyWork]] = deque()

    def __bool__(self) -> bool:
        return bool(self._turns)

    def divide(self, group: Sequence[AnyWork]) -> None:
        """Add the halves of a group of two or more: of the one taken last, or of another."""
        self.executions.update(_executions_of(group))
        own = _by_workspace(group)
        if len(own) > 1:
            middle = len(own) // 2
            halves = (list(chain(*some)) for some in (own[middle:], own[:middle]))
            self._turns.extendleft(deque([half]) for half in halves)
            return
        middle = len(group) // 2
        turns_of_it = self._last
        if not turns_of_it:
            self._turns.append(turns_of_it)
        turns_of_it.extendleft((list(group[middle:]), list(group[:middle])))

    def take(self) -> list[AnyWork]:
        """Return the half that is next; the next one is of another workspace, if it can be."""
        turns_of_it = self._last = self._turns.popleft()
        half = turns_of_it.popleft()
        if turns_of_it:
            self._turns.append(turns_of_it)
        self.executions -= Counter(_executions_of(half))
        return half

    def took_another(self) -> None:
        """Note that another group was taken, which was none of these."""
        self._last = deque()


def _executions_of(group: Sequence[Work]) -> list[ExecutionId]:
    return [append.execution_id for work in group for append in work.appends]


def _by_workspace(group: Sequence[AnyWork]) -> list[list[AnyWork]]:
    """Return the works of each workspace; of several together if one work has appends of them."""
    together: dict[str, str] = {}

    def name_of(workspace: str) -> str:
        while (other := together.setdefault(workspace, workspace)) != workspace:
            workspace = other
        return workspace

    for work in group:
        first, *others = {name_of(workspace_of(each.execution_id)) for each in work.appends}
        together.update(dict.fromkeys(others, first))
    by_name: dict[str, list[AnyWork]] = {}
    for work in group:
        name = name_of(workspace_of(work.appends[0].execution_id))
        by_name.setdefault(name, []).append(work)
    return list(by_name.values())
