"""What a workspace leaves to others of the processors, GPUs and other resources of the cluster.

Nothing is taken away from a Ray task that runs, and it may run for hours. So turns alone would not
be fair: the first workspace could have everything for that long.

Used by `ray_tasks/limits/task_room.py`.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple, TypeAlias

from rillflow.gateways.limits.concurrency import SHARE
from rillflow.ray_tasks.limits import node_resources
from rillflow.ray_tasks.limits.node_resources import Demand, Node

RECENT_S: Final = 60.0
"""For so long after its last call something is left to a workspace."""
MOST_KEPT: Final = 1_024
"""So many pools are kept that nobody has anything of; and so many workspaces of each."""
_ROUNDING: Final = 1e-6


class Pool:
    """Something of which calls have parts: a resource, or the places of calls that ask the same.

    A ``unit`` of it is left to others while one of them that has made a call lately has less.
    """

    __slots__ = ("held", "total", "unit", "used", "wanting")

    def __init__(self) -> None:
        self.wanting: OrderedDict[str, float] = OrderedDict()
        """When those that have less than a unit have had, or wanted, something last."""
        self.empty()

    def empty(self) -> None:
        """Have no size for now, and nobody that has anything of it."""
        self.used = 0.0
        self.held: dict[str, float] = {}
        self.resize(0.0)

    def resize(self, total: float) -> None:
        """Have another size."""
        self.total = total
        self.unit = min(1.0, total / 2)

    def leaves_enough(self, workspace: str, amount: float, now_s: float) -> bool:
        """Tell whether a workspace may have more; whoever has nothing may have what there is."""
        held = self.held.get(workspace, 0.0)
        if not held:
            return True
        least = (held + amount + _ROUNDING) // SHARE
        if self._is_wanted_beside(workspace, now_s):
            least = max(least, self.unit)
        elif self.used - held <= _ROUNDING:
            return True
        return self.total - self.used - amount >= least - _ROUNDING

    def take(self, workspace: str, amount: float, now_s: float) -> None:
        """Count what a workspace has more, or less if it is below zero."""
        held = self.held.get(workspace, 0.0) + amount
        self.used += amount
        if held > _ROUNDING:
            self.held[workspace] = held
        else:
            self.held.pop(workspace, None)
            if not self.held:
                self.used = 0.0
        if held >= self.unit - _ROUNDING:
            self.wanting.pop(workspace, None)
        else:
            self.note(workspace, now_s)

    def note(self, workspace: str, now_s: float) -> None:
        """Note that a workspace has had, or wants, something now."""
        if self.held.get(workspace, 0.0) >= self.unit - _ROUNDING:
            return
        wanting = self.wanting
        wanting[workspace] = now_s
        wanting.move_to_end(workspace)
        while len(wanting) > MOST_KEPT or now_s - next(iter(wanting.values())) >= RECENT_S:
            wanting.popitem(last=False)

    def _is_wanted_beside(self, workspace: str, now_s: float) -> bool:
        for other in reversed(self.wanting):  # the last, or the one before it
            if other != workspace:
                return now_s - self.wanting[other] < RECENT_S
        return False


class Part(NamedTuple):
    """What a call takes of a pool; ``is_of_all`` nodes, whatever their labels, or of its places."""

    pool: Pool
    amount: float
    is_of_all: bool = False


Parts: TypeAlias = tuple[Part, ...]
Labels: TypeAlias = tuple[tuple[str, str], ...]


class WorkspaceShares:
    """Counts what the Ray tasks of workspaces have, or wait for in Ray's queue.

    While other workspaces have calls, or have had some lately, one leaves free an eighth of what it
    has; and a unit, such as a processor, while one of the others has less than that. Some have no
    more than a part of each resource at any time.
    """

    def __init__(self, clock: Callable[[], float], most: Mapping[str, float]) -> None:
        """Tell what is recent by a ``clock``; ``most`` has the parts by workspace."""
        self._clock = clock
        self._most_of = most
        self._nodes: Sequence[Node] = ()
        self._pools: dict[Hashable, Pool] = {}
        self._most = MOST_KEPT

    @property
    def is_full(self) -> bool:
        """Whether ``sweep`` is to be called before there are ``parts`` of another demand."""
        return len(self._pools) >= self._most

    def sweep(self) -> None:
        """Forget pools of which nobody has anything, and so all parts of them."""
        self._pools = {key: pool for key, pool in self._pools.items() if pool.held}
        self._most = max(MOST_KEPT, 2 * len(self._pools))

    def learn(self, nodes: Sequence[Node]) -> None:
        """Learn which nodes there are; nothing is held then, and no parts are of use."""
        self._nodes = nodes
        for pool in self._pools.values():
            pool.empty()

    def parts(self, demand: Demand, places: float) -> Parts:
        """Return what a call takes, where ``places`` of its kind fit on the nodes."""
        # A call that asks for a label takes of the nodes that have it, and so of all of them.
        pools = [
            Part(self._pool((labels, name), partial(self._total, labels, name)), amount, not labels)
            for labels in dict.fromkeys(((), demand.labels))
            for name, amount in demand.amounts
        ]
        return (*pools, Part(self._pool(demand, lambda: places), 1.0))

    def leaves_enough(self, parts: Parts, workspace: str) -> bool:
        """Tell whether another Ray task of a workspace leaves enough to others."""
        now_s = self._clock()
        if self._most_of and self._is_beyond_its_part(parts, workspace):
            return False
        return all(pool.leaves_enough(workspace, amount, now_s) for pool, amount, _ in parts)

    def take(self, parts: Parts, workspace: str, times: int = 1) -> None:
        """Count so many Ray tasks of a workspace, or fewer of them if it is below zero."""
        now_s = self._clock()
        for pool, amount, _ in parts:
            pool.take(workspace, times * amount, now_s)

    def note(self, parts: Parts, workspace: str) -> None:
        """Note that a call of a workspace waits."""
        now_s = self._clock()
        for pool, _, _ in parts:
            pool.note(workspace, now_s)

    def _is_beyond_its_part(self, parts: Parts, workspace: str) -> bool:
        most = self._most_of.get(workspace)
        return most is not None and any(
            pool.held.get(workspace, 0.0) + amount > most * pool.total + _ROUNDING
            for pool, amount, is_of_all in parts
            if is_of_all
        )

    def _pool(self, key: Hashable, total: Callable[[], float]) -> Pool:
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = Pool()
        if not pool.total:
            pool.resize(total())
        return pool

    def _total(self, labels: Labels, name: str) -> float:
        demand = Demand((), labels)
        nodes = (node for node in self._nodes if node_resources.fitting(demand, node))
        return node_resources.totals(nodes).get(name, 0.0)
