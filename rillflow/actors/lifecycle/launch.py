"""Starting the actors of a stack; a second start finds the running ones.

Used by `actors/deployment.py`, `serve/api.py` and `serve/stack/front.py`.
"""

from typing import Any

import ray

from rillflow.actors.placing import find_nodes, owners, spread
from rillflow.actors.ray_context import is_on_one_machine
from rillflow.errors import StoreError
from rillflow.ports.deployment import Deployment
from rillflow.settings import Settings


def launch_actors(settings: Settings, deployed: Deployment) -> list[Any]:
    """Start dispatchers and execution actors, or find the running ones; return the latter.

    This is for a stack that no controller looks after, on one machine.

    Raises:
        StoreError: The store cannot serve a cluster of this size.
    """
    refuse_sqlite_on_many_nodes(settings)
    actors = spread(settings, deployed, find_nodes(settings).wanted)
    return [actors[name] for name in owners(settings)]


def refuse_sqlite_on_many_nodes(settings: Settings) -> None:
    """Refuse a store that is a file on one machine if there are several.

    Raises:
        StoreError: The store is SQLite and the cluster has more than one node.
    """
    if told := sqlite_on_many_nodes(settings):
        raise StoreError(told)


def sqlite_on_many_nodes(settings: Settings) -> str:
    """Say that the store is a file on one machine, and the cluster has several; nothing if not."""
    if not is_on_one_machine(settings):
        return ""
    machines = {node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}
    return told_of(len(machines))


def told_of(machines: int) -> str:
    """Say what an SQLite store is on a cluster of some machines; nothing on one."""
    if machines <= 1:
        return ""
    return (
        f"the SQLite store lives on one machine, and this Ray cluster has {machines}: set"
        " RILLFLOW_STORE=postgresql://..."
    )
