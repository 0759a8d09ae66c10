"""The nodes of the cluster, and starting an actor of the stack on one of them.

Used by `actors` and `serve/stack`.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

import ray

from rillflow.actors.directory import ACTOR_OPTIONS
from rillflow.actors.dispatcher_actor import DispatcherActor
from rillflow.actors.execution_actor import ExecutionActor
from rillflow.actors.monitoring.reports import ObservedActor
from rillflow.actors.names import dispatcher_actor_name, execution_actor_name
from rillflow.actors.ray_context import is_on_one_machine, on_the_machine_of_the_store
from rillflow.ports.deployment import Deployment
from rillflow.private_apis.ray_core.state import draining_nodes, free_processors
from rillflow.ray_tasks.exports import actor_class
from rillflow.runtime.supervision.rebalancing import Move, next_move
from rillflow.settings import Settings

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


def node_again(node: str, nodes: Sequence[str]) -> str | None:
    """Return where an actor starts that was on a ``node``; None lets Ray choose."""
    if len(nodes) <= 1:
        return None
    return node if node in nodes else nodes[0]


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
        kind = actor_class(DispatcherActor)
        return kind.options(**options).remote(settings, name, deployed)
    index = owners(settings).index(name)
    return actor_class(ExecutionActor).options(**options).remote(settings, index, deployed)


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
