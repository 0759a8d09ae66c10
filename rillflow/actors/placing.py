"""The nodes of the cluster, and starting an actor of the stack on one of them.

A process takes a second or more from its start until its modules are imported. Meanwhile nobody
would answer for an actor that is replaced. So the controller has a task imported and waiting in a
worker before it drains the actor. When the task ends, its worker is idle, and Ray gives it to the
next actor.

Used by `actors` and `serve/stack`.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import ray

from rillflow.actors.directory import ACTOR_OPTIONS
from rillflow.actors.dispatcher_actor import DispatcherActor
from rillflow.actors.execution_actor import ExecutionActor
from rillflow.actors.names import dispatcher_actor_name, execution_actor_name
from rillflow.actors.ray_context import is_on_one_machine, on_the_machine_of_the_store
from rillflow.ports.deployment import Deployment
from rillflow.private_apis.ray_state import draining_nodes, free_processors
from rillflow.settings import Settings

log = logging.getLogger("rillflow.controller")

PATIENCE_S: Final = 20.0
"""How long workers may take to start; without them an actor takes longer to start."""
ENDS_S: Final = 2.0
"""How long a task may take to end that is told to."""
_ANYWHERE: Final[list[dict[str, Any]]] = [{"label_selector": {}}]


class Nodes(NamedTuple):
    """Ids of nodes: those that are alive and not draining, and those that get actors.

    This process's node comes first.
    """

    living: list[str]
    wanted: list[str]


def find_nodes(settings: Settings) -> Nodes:
    """Return the nodes of the cluster; for a store that is a file, those of this machine."""
    draining = draining_nodes()
    here = ray.get_runtime_context().get_node_id()
    nodes = [node for node in ray.nodes() if node["Alive"] and node["NodeID"] not in draining]
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


class WaitingWorkers:
    """The workers that wait now; the actor that has it offers ``arrive`` to them."""

    def __init__(self) -> None:
        self._tasks: list[Any] = []
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
        await self.release()
        self._released, self._arrived = asyncio.Event(), 0
        self._tasks = await asyncio.to_thread(_start, nodes)
        try:
            async with asyncio.timeout(PATIENCE_S), self._changed:
                await self._changed.wait_for(lambda: self._arrived >= len(nodes))
        except TimeoutError:
            log.warning("workers_late", extra={"wanted": len(nodes), "started": self._arrived})

    async def release(self) -> None:
        """Give the workers that wait to the actors that are started next."""
        self._released.set()
        tasks, self._tasks = self._tasks, []
        ends = asyncio.gather(*map(asyncio.wrap_future, tasks), return_exceptions=True)
        try:
            await asyncio.wait_for(ends, ENDS_S)
        except TimeoutError:
            log.warning("workers_stay")


def _start(nodes: Sequence[str | None]) -> list[Any]:
    controller = ray.get_runtime_context().current_actor
    task = ray.remote(_wait_for_actor)
    options = {"num_cpus": 0, "max_retries": 0, "enable_task_events": False}
    tasks = [task.options(**options, **on_node(node)) for node in nodes]
    return [each.remote(controller).future() for each in tasks]


def _wait_for_actor(controller: Any) -> None:
    """Wait in a worker; the modules of the actors are imported with this one."""
    ray.get(controller.wait_for_actor.remote())
