"""Starting the actors of a stack; a second start finds the running ones."""

from typing import Any

import ray

from rillflow.actors.balancer_actor import BalancerActor
from rillflow.actors.directory import ACTOR_OPTIONS
from rillflow.actors.names import BALANCER_ACTOR
from rillflow.actors.placing import find_nodes, owners, spread
from rillflow.errors import StoreError
from rillflow.settings import Settings

# The node of Ray's own controllers: a node that comes and goes should not have the balancer.
_ON_THE_HEAD = {"node:__internal_head__": 0.001}


def launch_actors(settings: Settings) -> list[Any]:
    """Start dispatchers and execution actors, or find the running ones; return the latter.

    Raises:
        StoreError: The store cannot serve a cluster of this size.
    """
    refuse_sqlite_on_many_nodes(settings)
    actors = spread(settings, find_nodes(settings).wanted)
    if settings.rebalance_s and not _is_sqlite(settings):
        options = {**ACTOR_OPTIONS, "resources": _ON_THE_HEAD}
        ray.remote(BalancerActor).options(
            name=BALANCER_ACTOR, namespace=settings.namespace, **options
        ).remote(settings)
    return [actors[name] for name in owners(settings)]


def refuse_sqlite_on_many_nodes(settings: Settings) -> None:
    """Refuse a store that is a file on one machine if there are several.

    Raises:
        StoreError: The store is SQLite and the cluster has more than one node.
    """
    if not _is_sqlite(settings):
        return
    nodes = [node for node in ray.nodes() if node["Alive"]]
    if len({node["NodeManagerHostname"] for node in nodes}) > 1:
        raise StoreError(
            "the SQLite store lives on one machine, and this Ray cluster has"
            f" {len(nodes)} nodes: set RILLFLOW_STORE=postgresql://..."
        )


def _is_sqlite(settings: Settings) -> bool:
    return settings.store_url.startswith("sqlite:")
