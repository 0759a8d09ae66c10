"""How many Ray tasks stand in Ray's queue, by what the nodes of the cluster have.

Ray takes its queue in the order of arrival, so what stands there is before all that comes later.

Used by `ray_tasks/limits/task_queue.py`.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple, TypeVar

from cachetools import LRUCache

from rillflow.ray_tasks.limits import node_resources
from rillflow.ray_tasks.limits.node_resources import Demand, Node
from rillflow.ray_tasks.limits.workspace_shares import Parts, WorkspaceShares
from rillflow.ray_tasks.options import LONGEST_KEPT, CallOptions

LEAST_AHEAD: Final = 2
AHEAD: Final = 4
"""A quarter more than fit, and two at least, stand in Ray's queue, so that no worker waits."""
MOST_IN_VAIN: Final = 64
"""Of a workspace so many stand there that no node can run, whatever they ask for."""
MOST_UNKNOWN: Final = 4
"""As long as the nodes are not known, so many stand there."""
MOST_KEPT: Final = 1_024
_ROUNDING: Final = 1e-6

K = TypeVar("K")


class Place(NamedTuple):
    """The place of a Ray task in Ray's queue, until it has ended.

    ``share`` is its part of the resource of which it takes the largest part. ``is_vain`` tells
    whether no node could run it as it came.
    """

    demand: Demand
    workspace: str
    share: float
    is_vain: bool


class _Known(NamedTuple):
    """How many calls of a demand fit on the nodes, and what each takes from other workspaces."""

    fit: float
    parts: Parts


_UNKNOWN: Final = _Known(0, ())


class TaskRoom:
    """Counts what stands in Ray's queue.

    There is room for a Ray task while fewer with the same demand stand there than fit, and
    ``AHEAD`` more, and while all together ask for no more than the cluster has. Those that no node
    can run, now or ever, take nothing of that from others. A workspace leaves something to others.
    """

    def __init__(self, most: Mapping[str, float], clock: Callable[[], float]) -> None:
        """Have ``most`` say which part of each resource some workspaces may have."""
        self._nodes: Sequence[Node] | None = None
        self._totals: dict[str, float] = {}
        self._known: LRUCache[Demand, _Known] = LRUCache(MOST_KEPT)
        self._held = WorkspaceShares(clock, most)
        self._counts: dict[Demand, int] = {}
        self._of_workspaces: dict[tuple[str, Demand], int] = {}
        self._used: dict[str, float] = {}
        self._shares: dict[str, float] = {}
        self._vain: Counter[str] = Counter()
        self.standing = 0

    def learn(self, nodes: Sequence[Node]) -> None:
        """Learn which nodes there are."""
        facts = [{key: node.get(key) for key in ("Alive", "Resources", "Labels")} for node in nodes]
        if facts == self._nodes:
            return
        self._nodes = facts
        self._totals = node_resources.totals(facts)
        self._known.clear()
        self._held.learn(facts)
        self._used.clear()
        for demand, count in self._counts.items():
            self._use(demand, min(count, self._know(demand).fit))
        for (workspace, demand), count in self._of_workspaces.items():
            self._held.take(self._know(demand).parts, workspace, count)

    def has_room(self, demand: Demand, workspace: str) -> bool:
        """Tell whether another Ray task of a workspace may stand in Ray's queue."""
        if self._nodes is None:
            return self.standing < MOST_UNKNOWN
        fit, parts = self._know(demand)
        if fit == math.inf:
            return True
        if self._counts.get(demand, 0) >= fit + max(LEAST_AHEAD, fit // AHEAD):
            return False
        if not fit:
            return self._vain[workspace] < MOST_IN_VAIN
        return all(
            self._used.get(name, 0.0) <= self._totals.get(name, 0.0) + _ROUNDING
            for name, _ in demand.amounts
        ) and self._held.leaves_enough(parts, workspace)

    def may_pass(self, place: Place, workspace: str) -> bool:
        """Tell whether a place may become one of another workspace."""
        parts = self._know(place.demand).parts
        self._held.take(parts, place.workspace, -1)
        enough = self._held.leaves_enough(parts, workspace)
        self._held.take(parts, place.workspace)
        return enough

    def wait(self, demand: Demand, workspace: str) -> None:
        """Note that a call of a workspace waits until there is room for it."""
        self._held.note(self._know(demand).parts, workspace)

    def enter(self, demand: Demand, workspace: str) -> Place:
        """Count a Ray task of a workspace."""
        count = self._counts.get(demand, 0)
        fit, parts = self._know(demand)
        if count < fit:
            self._use(demand, 1)
        self._counts[demand] = count + 1
        key = workspace, demand
        self._of_workspaces[key] = self._of_workspaces.get(key, 0) + 1
        self._held.take(parts, workspace)
        self.standing += 1
        is_vain = self._nodes is not None and not fit
        self._vain[workspace] += is_vain
        place = Place(demand, workspace, self._share(demand) if fit else 0.0, is_vain)
        self._shares[workspace] = self._shares.get(workspace, 0.0) + place.share
        return place

    def leave(self, place: Place) -> None:
        """Count a Ray task no more."""
        demand, workspace = place.demand, place.workspace
        left = _one_less(self._counts, demand)
        _one_less(self._of_workspaces, (workspace, demand))
        fit, parts = self._know(demand)
        if left < fit:
            self._use(demand, -1)
        self._held.take(parts, workspace, -1)
        self.standing -= 1
        self._vain[workspace] -= place.is_vain
        if not self._vain[workspace]:
            del self._vain[workspace]
        if not self.standing:
            self._used.clear()
        share = self._shares.get(workspace, 0.0) - place.share
        if share > _ROUNDING:
            self._shares[workspace] = share
        else:  # some take no part of anything
            self._shares.pop(workspace, None)

    def share_of(self, workspace: str) -> float:
        """Return the part of the cluster that a workspace has asked for."""
        return self._shares.get(workspace, 0.0)

    def in_vain(self) -> int:
        """Return how many stand there that no node can run."""
        if self._nodes is None:
            return 0
        return sum(count for demand, count in self._counts.items() if not self._know(demand).fit)

    def _know(self, demand: Demand) -> _Known:
        if self._nodes is None:
            return _UNKNOWN
        known = self._known.get(demand)
        if known is None:
            if self._held.is_full:
                self._held.sweep()
                self._known.clear()
            fit = sum(node_resources.fitting(demand, node) for node in self._nodes)
            can_run = 0 < fit < math.inf
            known = _Known(fit, self._held.parts(demand, fit) if can_run else ())
            self._known[demand] = known
        return known

    def _share(self, demand: Demand) -> float:
        parts = (amount / self._totals[name] for name, amount in demand.amounts)
        return max(parts, default=0.0)

    def _use(self, demand: Demand, times: float) -> None:
        if times != math.inf:
            for name, amount in demand.amounts:
                self._used[name] = self._used.get(name, 0.0) + times * amount


def _one_less(counts: dict[K, int], key: K) -> int:
    left = counts[key] - 1
    if left:
        counts[key] = left
    else:
        del counts[key]
    return left


def demand_of(options: CallOptions) -> Demand:
    """Return what the Ray task of a call asks for."""
    is_kept = len(options.text or b"") <= LONGEST_KEPT
    return _demand_of(options) if is_kept else _demand_of.__wrapped__(options)


@lru_cache(maxsize=MOST_KEPT)
def _demand_of(options: CallOptions) -> Demand:
    return node_resources.demand_of(options.resources)
