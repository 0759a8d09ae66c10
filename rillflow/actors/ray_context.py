"""What Ray tells of this process: the runtime environment that it has, and whose it is.

Used by `actors`, `serve/api.py` and `serve/deployment.py`.
"""

import hashlib
import importlib
import json
import os
from collections.abc import Mapping
from typing import Any, Final

import ray

from rillflow.actors.connections.sockets import RUN_DIR
from rillflow.jsontypes import JsonObject
from rillflow.ports.storage.lease import DeploymentName, Leases
from rillflow.private_apis.ray_core.state import cluster_id, hook_variables, without_hook
from rillflow.settings import Settings

_HEAD: Final = "node:__internal_head__"


def is_controlled() -> bool:
    """Tell whether a controller looks after the actors, as in every stack but ``rillflow up``."""
    return RUN_DIR not in os.environ


def here(actor: str) -> JsonObject:
    """Return where an actor of this process is, as it is shown to people."""
    return {
        "actor": actor,
        "node": ray.get_runtime_context().get_node_id(),
        "address": ray.util.get_node_ip_address(),
    }


def gcs_address() -> str:
    """Return where the GCS of this process's cluster listens, as ``host:port``."""
    return str(ray.get_runtime_context().gcs_address)


def own_raylet() -> tuple[str, int]:
    """Return where the raylet of this process listens, as host and port; it asks the GCS.

    Raises:
        LookupError: The node is not known any more.
    """
    return raylet_address(ray.get_runtime_context().get_node_id())


def raylet_address(node: str) -> tuple[str, int]:
    """Return where the raylet of a node listens, as host and port; it asks the GCS.

    Raises:
        LookupError: There is no such node any more.
    """
    for each in ray.nodes():
        if each["Alive"] and each["NodeID"] == node:
            return each["NodeManagerAddress"], each["NodeManagerPort"]
    raise LookupError(f"there is no node {node}")


def import_actors() -> None:
    """Import what actors need, so that a process that waits for one has done so before.

    Ray sends the code of this function, since it ends a process that cannot load it: on a node
    without Rillflow the start of the actor is to say what is missing.
    """
    modules = ("actors.execution_actor", "actors.dispatcher_actor", "stores.postgres.store")
    for name in modules:
        try:
            importlib.import_module(f"rillflow.{name}")
        except Exception:  # noqa: BLE001 - whoever needs the module says what is wrong
            return


import_actors.__module__ = "__main__"  # by which Ray sends the code, and not the name


def preloading() -> dict[str, Any]:
    """Return the option by which an actor, and what it starts, imports actors first; asks Ray."""
    variables = hook_variables(import_actors)
    return {"runtime_env": {"env_vars": variables}} if variables else {}


def environment_digest() -> str:
    """Return the digest of the runtime environment of this process.

    Secrets in environment variables come to actors by it, and it names code by its content. Files
    of ``secrets_dir`` are not part of it, since they are read at each call.
    """
    return digest_of(ray.get_runtime_context().runtime_env)


def digest_of(runtime_env: Mapping[str, Any]) -> str:
    """Return the digest of a runtime environment; it is not for the store.

    Variables that ``ray start`` was given are not part of it. They belong to a node, and differ
    between nodes, and a node that starts again starts its actors with them. What actors import at
    the start of their processes is not part of it either.
    """
    # `config` says how the environment is set up; Ray adds names that begin with "_".
    given = {
        name: value
        for name, value in runtime_env.items()
        if name != "config" and not name.startswith("_")
    }
    if variables := without_hook(given.pop("env_vars", {})):
        given["env_vars"] = variables
    text = json.dumps(given, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def holder_of(settings: Settings) -> DeploymentName:
    """Return who the deployment is; it asks Ray's GCS."""
    address, head = ray.get_runtime_context().gcs_address, _head()
    if head:
        port = address.rpartition(":")[2]
        address = f"{head['NodeManagerAddress']}:{port} on {head['NodeManagerHostname']}"
    place = f"the Ray cluster at {address}, namespace {settings.namespace}"
    return DeploymentName(holder_id_of(settings), place)


def holder_id_of(settings: Settings) -> str:
    """Return the id of the deployment, the same for all its processes on all nodes."""
    return f"{cluster_id()}/{settings.namespace}"


def address_of_head() -> str:
    """Return the address of the head node; that of this node while the head is not known."""
    return str((_head() or {}).get("NodeManagerAddress") or ray.util.get_node_ip_address())


def _head() -> Mapping[str, Any] | None:
    nodes = (node for node in ray.nodes() if node["Alive"] and _HEAD in node["Resources"])
    return next(nodes, None)


def is_on_one_machine(settings: Settings) -> bool:
    """Tell whether the store is a file, which other machines of a cluster do not have."""
    return settings.store_url.startswith("sqlite:")


def on_the_machine_of_the_store(settings: Settings, node: str | None = None) -> dict[str, Any]:
    """Return the options that keep an actor on a node if the store is a file on its machine.

    Args:
        settings: Those of the actor.
        node: The node; None is that of this process, which has the file as well.
    """
    if not is_controlled() or not is_on_one_machine(settings):
        return {}
    here = node or ray.get_runtime_context().get_node_id()
    return {"label_selector": {"ray.io/node-id": here}}


async def is_held_by_another(store: Leases, settings: Settings) -> bool:
    """Tell whether another deployment holds the store, so that an actor of this one must end.

    The first process of ``rillflow up`` watches the lease for all its actors, and ends them.

    Raises:
        StoreError: The store cannot be read.
    """
    lease = await store.lease() if is_controlled() else None
    if lease is None or not lease.holder:
        return False
    return lease.holder != holder_id_of(settings)
