"""The nodes of the cluster, and starting an actor of the stack on one of them.

A process takes a second or more from its start until its modules are imported. Meanwhile nobody
would answer for an actor that is replaced. So the controller has a task imported and waiting in a
worker before it drains the actor. When the task ends, its worker is idle, and Ray gives it to the
next actor.

Used by `actors` and `serve/stack`.
"""

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

import ray

from rillflow.actors.directory import ACTOR_OPTIONS
from rillflow.actors.dispatcher_actor import DispatcherActor
from rillflow.actors.execution_actor import ExecutionActor
from rillflow.actors.names import dispatcher_actor_name, execution_actor_name
from rillflow.actors.ray_context import is_on_one_machine, on_the_machine_of_the_store
from rillflow.actors.reports import ObservedActor
from rillflow.ports.deployment import Deployment
from rillflow.private_apis.ray_state import draining_nodes, free_processors
from rillflow.runtime.supervision.deployed import code_version
from rillflow.runtime.supervision.rebalancing import Move, next_move
from rillflow.settings import Settings
from rillflow.stores import open_store

log = logging.getLogger("rillflow.controller")

PATIENCE_S: Final = 20.0
"""How long workers may take to start; without them an actor takes longer to start."""
ENDS_S: Final = 2.0
"""How long a task may take to end that is told to."""
STEADY_S: Final = 60.0
"""How long no worker was needed before some are kept waiting."""
MOST_STANDBY: Final = 2
"""How many workers wait on a node; each has all modules in memory."""
_ANYWHERE: Final[list[dict[str, Any]]] = [{"label_selector": {}}]


class Nodes(NamedTuple):
    """Ids of nodes: those that are alive and not draining, and those that get actors.

    This process's node comes first.
    """

    living: list[str]
    wanted: list[str]


def find_nodes(settings: Settings, unreachable: Collection[str] = ()) -> Nodes:
    """Return the nodes of the cluster; for a store that is a file, those of this machine.

    Those that are ``unreachable`` are not, even if Ray takes them for alive.
    """
    excluded = draining_nodes().union(unreachable)
    here = ray.get_runtime_context().get_node_id()
    nodes = [node for node in ray.nodes() if node["Alive"] and node["NodeID"] not in excluded]
    if is_on_one_machine(settings):
        machines = {node["NodeID"]: node["NodeManagerHostname"] for node in nodes}
        nodes = [node for node in nodes if node["NodeManagerHostname"] == machines.get(here)]
    processors = {node["NodeID"]: node["Resources"].get("CPU", 0.0) for node in nodes}
    living = sorted(processors, key=lambda node: (node != here, node))
    if settings.actor_nodes == "all":
        return Nodes(living, living)
    free = free_processors()
    reserved = [node for node in living if free.get(node, 0.0) < processors[node]]
    return Nodes(living, reserved or living)


def wanted_nodes(settings: Settings, unreachable: Callable[[], Collection[str]]) -> list[str]:
    """Return the nodes that get actors, without those that are ``unreachable`` now."""
    return find_nodes(settings, unreachable()).wanted


def dispatchers(settings: Settings) -> list[str]:
    """Return the names of the dispatchers of a stack."""
    return list(map(dispatcher_actor_name, range(settings.dispatcher_actors)))


def owners(settings: Settings) -> list[str]:
    """Return the names of the execution actors of a stack."""
    return list(map(execution_actor_name, range(settings.execution_actors)))


def places(settings: Settings, nodes: Sequence[str]) -> dict[str, str | None]:
    """Return the node of each actor of a stack, one after the other; None lets Ray choose."""
    return {
        name: nodes[number % len(nodes)] if len(nodes) > 1 else None
        for names in (dispatchers(settings), owners(settings))
        for number, name in enumerate(names)
    }


def other_places(actors: Mapping[str, str], nodes: Sequence[str]) -> dict[str, str | None]:
    """Return a node for each of some actors that leave their nodes; None lets Ray choose.

    Args:
        actors: The node on which each is now, by name.
        nodes: Those to which they may go.
    """
    places: dict[str, str | None] = {}
    for name, here in actors.items():
        others = [node for node in nodes if node != here]
        taken = Counter(places.values())
        places[name] = min(others, key=lambda node: taken[node]) if others else None
    return places


def standby_places(actors: Sequence[str], nodes: Sequence[str]) -> list[str]:
    """Return the nodes on which workers wait for actors of a node that dies, once for each.

    Args:
        actors: The node of each actor.
        nodes: All nodes; where there is one, nobody could take over.
    """
    if len(nodes) <= 1 or not actors:
        return []
    most = max(Counter(actors).values())
    each = min(math.ceil(most / (len(nodes) - 1)), MOST_STANDBY)
    return [node for node in nodes for _ in range(each)]


def spread(settings: Settings, deployed: Deployment, nodes: Sequence[str]) -> dict[str, Any]:
    """Start the actors of a stack, spread over the nodes, or find the running ones."""
    return {
        name: start(settings, deployed, name, node)
        for name, node in places(settings, nodes).items()
    }


def start(settings: Settings, deployed: Deployment, name: str, node: str | None) -> Any:
    """Start an actor on a node, or find the running one of this name on any node.

    While the node is alive, Ray restarts the actor there, and after that anywhere. None lets Ray
    choose from the beginning. Where the store is a file, the actor stays where that is.
    """
    place = on_the_machine_of_the_store(settings, node) or on_node(node)
    options = {**ACTOR_OPTIONS, "name": name, "namespace": settings.namespace, **place}
    if name in dispatchers(settings):
        return ray.remote(DispatcherActor).options(**options).remote(settings, name, deployed)
    index = owners(settings).index(name)
    return ray.remote(ExecutionActor).options(**options).remote(settings, index, deployed)


def on_node(node: str | None) -> dict[str, Any]:
    """Return the options that put an actor, or a task, on a node while it is there."""
    if node is None:
        return {}
    # Soft affinity to a node would express this, but actors without CPUs ignore it.
    return {"label_selector": {"ray.io/node-id": node}, "fallback_strategy": _ANYWHERE}


class Rebalancing:
    """Looks from time to time whether an actor should move to another node."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known: set[str] = set()
        self._next_s = 0.0

    async def next_move(
        self, seen: Sequence[ObservedActor], left_alone: Collection[str], unreachable: set[str]
    ) -> Move | None:
        """Return the move that leaves every node its share; one at most every ``rebalance_s``.

        Args:
            seen: All actors.
            left_alone: Those that do not move now.
            unreachable: Nodes that get no actors.
        """
        rebalance_s = self._settings.rebalance_s
        if not rebalance_s or time.monotonic() < self._next_s:
            return None
        self._next_s = time.monotonic() + rebalance_s
        living, wanted = await asyncio.to_thread(find_nodes, self._settings, unreachable)
        nodes = {each.running.name: each.node for each in seen}
        # What comes and goes is not worth a move: a node counts from the second look at which
        # it is wanted, and no more from the second at which it is not. One that goes, at once.
        steady = self._known.intersection(living).union(set(wanted).intersection(nodes.values()))
        self._known = set(wanted)
        kinds = [
            {name: nodes[name] for name in names}
            for names in (owners(self._settings), dispatchers(self._settings))
        ]
        return next_move(kinds, steady, left_alone)


class WaitingWorkers:
    """The workers that wait now; the actor that has it offers ``arrive`` to them."""

    def __init__(self, store_url: str) -> None:
        """Have workers wait for actors that open a store."""
        self._store_url = store_url
        self._tasks: list[Any] = []
        self._nodes: list[str | None] = []
        self._needed_s = time.monotonic()
        self._arrived = 0
        self._changed = asyncio.Condition()
        self._released = asyncio.Event()

    async def arrive(self) -> None:
        """Count a worker that has imported everything, and keep it until it is released."""
        released = self._released
        async with self._changed:
            self._arrived += 1
            self._changed.notify_all()
        await released.wait()

    async def prepare(self, nodes: Sequence[str | None]) -> None:
        """Have a worker wait on each of these nodes; None is any node."""
        await self._begin(nodes)
        try:
            async with asyncio.timeout(PATIENCE_S), self._changed:
                await self._changed.wait_for(lambda: self._arrived >= len(nodes))
        except TimeoutError:
            log.warning("workers_late", extra={"wanted": len(nodes), "started": self._arrived})

    async def stand_by(self, nodes: Sequence[str]) -> None:
        """Keep a worker waiting on each of these nodes, in case that another node dies.

        Not while actors are started or moved, which need the processors.
        """
        is_complete = self._nodes == nodes and not any(task.done() for task in self._tasks)
        if not is_complete and time.monotonic() - self._needed_s > STEADY_S:
            await self._begin(nodes)

    async def _begin(self, nodes: Sequence[str | None]) -> None:
        await self.release()
        self._released, self._arrived = asyncio.Event(), 0
        self._tasks = await asyncio.to_thread(_start, nodes, self._store_url)
        self._nodes = list(nodes)

    async def release(self) -> None:
        """Give the workers that wait to the actors that are started next."""
        self._needed_s = time.monotonic()
        self._released.set()
        tasks, self._tasks, self._nodes = self._tasks, [], []
        if not tasks:
            return
        ends = asyncio.gather(*map(asyncio.wrap_future, tasks), return_exceptions=True)
        try:
            await asyncio.wait_for(ends, ENDS_S)
        except TimeoutError:
            log.warning("workers_stay")


def _start(nodes: Sequence[str | None], store_url: str) -> list[Any]:
    controller = ray.get_runtime_context().current_actor
    task = ray.remote(_wait_for_actor)
    options = {"num_cpus": 0, "max_retries": 0, "enable_task_events": False}
    tasks = [task.options(**options, **on_node(node)) for node in nodes]
    return [each.remote(controller, store_url).future() for each in tasks]


def _wait_for_actor(controller: Any, store_url: str) -> None:
    """Wait in a worker; the modules of the actors are imported with this one, or now."""
    open_store(store_url)
    code_version()
    ray.get(controller.wait_for_actor.remote())
