"""Starting the actors of a stack; a second start finds the running ones.

Used by `actors/deployment.py`, `serve/api.py` and `serve/stack/front.py`.
"""

from typing import Any

import ray

from rillflow.actors.placing import find_nodes, owners, spread
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
    if not settings.store_url.startswith("sqlite:"):
        return
    nodes = [node for node in ray.nodes() if node["Alive"]]
    if len({node["NodeManagerHostname"] for node in nodes}) > 1:
        raise StoreError(
            "the SQLite store lives on one machine, and this Ray cluster has"
            f" {len(nodes)} nodes: set RILLFLOW_STORE=postgresql://..."
        )
