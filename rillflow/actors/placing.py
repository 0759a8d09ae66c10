"""The nodes of the cluster, and starting an actor of the stack on one of them.

Ray may have to bring the code of a runtime environment to a node, and to install its packages,
before it starts the first process there. Meanwhile nobody would answer for an actor that is
replaced. So the controller has a task import everything on that node before it drains the actor.
The actor gets another process, since Ray gives none to an actor that has run a task. That process
takes a second from its start until it is there, so it is started before as well, and Ray gives it
to the next actor with the same runtime environment. Meanwhile it imports what actors need
(``preloading`` in `ray_context.py`), which takes as long again.

Used by `actors` and `serve/stack`.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Final, NamedTuple, Protocol

import ray

from rillflow.actors.directory import ACTOR_OPTIONS
from rillflow.actors.dispatcher_actor import DispatcherActor
from rillflow.actors.execution_actor import ExecutionActor
from rillflow.actors.monitoring.reports import ObservedActor
from rillflow.actors.names import dispatcher_actor_name, execution_actor_name
from rillflow.actors.ray_context import is_on_one_machine, on_the_machine_of_the_store
from rillflow.ports.deployment import Deployment
from rillflow.private_apis.ray_core.state import Raylet, draining_nodes, free_processors
from rillflow.runtime.supervision.deployed import code_version
from rillflow.runtime.supervision.rebalancing import Move, next_move
from rillflow.settings import Settings
from rillflow.stores import open_store

log = logging.getLogger("rillflow.controller")

PATIENCE_S: Final = 20.0
"""How long a node may take to be prepared; without that an actor takes longer to start."""
KEEP_S: Final = 60
"""How long a process waits; the drain of an actor with long calls may take longer."""
LOOK_S: Final = 0.05
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


class NodeWorkers(Protocol):
    """The processes of one node; every method blocks, and may raise anything."""

    def start_workers(self, count: int, keep_s: int) -> None:
        """Have so many start, which may be ended after ``keep_s`` if nobody has needed them."""
        ...

    def unused_workers(self) -> set[bytes]:
        """Return the ids of those that have had nothing to do yet."""
        ...

    def close(self) -> None:
        """Ask nothing more."""
        ...


class SpareWorkers:
    """Has nodes start processes for actors, and remembers those that nobody has needed yet."""

    def __init__(self, starter: Callable[[str], NodeWorkers] | None = None) -> None:
        """Ask the raylets of Ray's nodes, or whatever ``starter`` returns for the id of a node."""
        self._starter = starter or raylet_of
        self._spare: dict[str, set[bytes]] = {}

    async def prepare(self, nodes: Sequence[str | None], store_url: str) -> None:
        """Have all that an actor needs on a node before the one before it drains.

        Args:
            nodes: That of each actor that starts then; None lets Ray choose.
            store_url: The store that these actors open.
        """
        where = await import_on(nodes, store_url)
        await self.start(Counter(where[node] for node in nodes if node in where), PATIENCE_S)

    async def start(self, counts: Mapping[str, int], patience_s: float) -> None:
        """Have so many processes wait on each node; those that wait already count.

        An actor starts without one too, only later. So what fails is logged, and nothing else.

        Args:
            counts: How many by the ids of the nodes.
            patience_s: How long they may take to start.
        """
        try:
            missing = await asyncio.to_thread(self._started, counts, patience_s)
        except Exception as error:
            log.warning("spare_workers_not_started", exc_info=error)
            return
        if missing:
            log.warning("spare_workers_late", extra={"nodes": sorted(missing)})

    def _started(self, counts: Mapping[str, int], patience_s: float) -> dict[str, int]:
        """Start what is missing, and wait for it; return what has not come, by nodes.

        It waits as long again as that took, since it is not seen when a process has imported
        everything. An actor that gets one earlier waits for what is left.
        """
        begun_s = time.monotonic()
        give_up_s = begun_s + patience_s
        with ExitStack() as ends:
            starters: dict[str, NodeWorkers] = {}
            before: dict[str, set[bytes]] = {}
            for node in counts:
                starters[node] = starter = self._starter(node)
                ends.callback(starter.close)
                before[node] = starter.unused_workers()
            missing = {}
            for node, count in counts.items():
                spare = self._spare[node] = self._spare.get(node, set()) & before[node]
                if len(spare) < count:
                    missing[node] = count - len(spare)
                    starters[node].start_workers(missing[node], KEEP_S)
            while missing and time.monotonic() < give_up_s:
                time.sleep(LOOK_S)
                for node in list(missing):
                    come = starters[node].unused_workers() - before[node]
                    if len(come) >= missing[node]:
                        self._spare[node] |= come
                        del missing[node]
        time.sleep(time.monotonic() - begun_s)
        return missing


def raylet_of(node: str) -> Raylet:
    """Reach the raylet of a node.

    Raises:
        LookupError: There is no such node any more.
    """
    for each in ray.nodes():
        if each["Alive"] and each["NodeID"] == node:
            return Raylet(each["NodeManagerAddress"], each["NodeManagerPort"])
    raise LookupError(f"there is no node {node}")


async def import_on(nodes: Collection[str | None], store_url: str) -> dict[str | None, str]:
    """Have nodes import what actors do that open a store.

    Args:
        nodes: Their ids; None is any node.
        store_url: The store.

    Returns:
        The ids of those that have, the one that Ray chose for None among them.
    """
    begun = await asyncio.to_thread(_start_imports, set(nodes), store_url)
    tasks = {node: asyncio.wrap_future(each) for node, each in begun.items()}
    done, late = await asyncio.wait(tasks.values(), timeout=PATIENCE_S)
    for each in late:
        each.cancel()
    if late:
        log.warning("nodes_not_prepared", extra={"nodes": len(late)})
    return {
        node: each.result()
        for node, each in tasks.items()
        if each in done and each.exception() is None
    }


def _start_imports(nodes: Collection[str | None], store_url: str) -> dict[str | None, Any]:
    task = ray.remote(_import_everything)
    options = {"num_cpus": 0, "max_retries": 0, "enable_task_events": False}
    tasks = {node: task.options(**options, **on_node(node)) for node in nodes}
    return {node: each.remote(store_url).future() for node, each in tasks.items()}


def _import_everything(store_url: str) -> str:
    """Import the modules of the actors, which come with this one, and those of the store."""
    open_store(store_url)
    code_version()
    return str(ray.get_runtime_context().get_node_id())
