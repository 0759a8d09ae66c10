"""Starting the actors of a stack; starting them again finds those that run."""

from typing import Any

import ray

from rillflow.actors.directory import ACTOR_OPTIONS
from rillflow.actors.dispatcher_actor import DispatcherActor
from rillflow.actors.execution_actor import ExecutionActor
from rillflow.actors.names import dispatcher_actor_name, execution_actor_name
from rillflow.errors import StoreError
from rillflow.settings import Settings


def launch_actors(settings: Settings) -> list[Any]:
    """Start dispatchers and execution actors, or find those that run; return the latter.

    Raises:
        StoreError: The store cannot serve a cluster of this size.
    """
    refuse_sqlite_on_many_nodes(settings)
    for index in range(settings.dispatcher_actors):
        _actor(DispatcherActor, dispatcher_actor_name(index), settings).remote(settings)
    return [
        _actor(ExecutionActor, execution_actor_name(index), settings).remote(settings, index)
        for index in range(settings.execution_actors)
    ]


def _actor(kind: type, name: str, settings: Settings) -> Any:
    return ray.remote(kind).options(name=name, namespace=settings.namespace, **ACTOR_OPTIONS)


def refuse_sqlite_on_many_nodes(settings: Settings) -> None:
    """Refuse a store that is a file on one machine when there are several.

    Raises:
        StoreError: The store is SQLite and the cluster has more than one node.
    """
    if not settings.store_url.startswith("sqlite:"):
        return
    nodes = [node for node in ray.nodes() if node["Alive"]]
    if len({node["NodeManagerHostname"] for node in nodes}) > 1:
        raise StoreError(
            "the SQLite store lives on one machine, and this Ray cluster has"
            f" {len(nodes)} nodes: set RILLFLOW_STORE=postgresql://..."
        )


def stop_actors(settings: Settings) -> None:
    """Kill the actors of a stack; what is outstanding goes on when they are launched again."""
    for entry in ray.util.list_named_actors(all_namespaces=True):
        if entry["namespace"] == settings.namespace:
            ray.kill(ray.get_actor(entry["name"], namespace=settings.namespace))
