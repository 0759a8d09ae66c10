"""The state of Ray's cluster and of this process that no public function returns.

Used by `actors` and `actors/takeover/actor_watch.py`.
"""

import os
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ray._private import process_watcher, worker
from ray._private.state import state
from ray._private.worker import global_worker
from ray._raylet import InnerGcsClient  # type: ignore[attr-defined] # Ray has no types
from ray.actor import ActorHandle

from rillflow.private_apis.assumption import Assumption, missing, not_in_source

RAYLET_PID: Final = "RAY_RAYLET_PID"


def draining_nodes() -> set[str]:
    """Return the ids of nodes that are being drained."""
    return set(state.get_draining_nodes())


def free_processors() -> Mapping[str, float]:
    """Return how many processors are free, by id of the node."""
    free = state.available_resources_per_node()
    return {node: resources.get("CPU", 0.0) for node, resources in free.items()}


def cluster_id() -> str:
    """Return the id of the cluster, the same on all its nodes and after a restart of its head."""
    client: Any = global_worker.gcs_client
    return str(client.cluster_id.hex())


def place_of(actor: Any) -> tuple[bool, str]:
    """Return whether Ray takes an actor for alive, and the id of its node; it asks the GCS.

    Neither says that the process runs: Ray learns of the death of a node after some seconds, and
    never that a process has been stopped.
    """
    facts = state.actor_table(actor._actor_id.hex())  # noqa: SLF001 - no public function has it
    return facts.get("State") == "ALIVE", facts.get("Address", {}).get("NodeID", "")


def ask_gcs(timeout_s: float) -> None:
    """Ask the GCS whether it lives; it blocks.

    Raises:
        RayError: It does not answer in time.
    """
    client: Any = global_worker.gcs_client
    client.check_alive([], timeout=timeout_s)


def raylet_pid() -> int | None:
    """Return the process that has started this worker; None outside of workers."""
    pid = os.environ.get(RAYLET_PID, "")
    return int(pid) if pid.isdecimal() else None


def _differences() -> Iterator[str]:
    yield from missing(state, "get_draining_nodes", "available_resources_per_node", "actor_table")
    yield from not_in_source(type(state), '"State": gcs_pb2', '"NodeID": binary_to_hex')
    yield from missing(ActorHandle, "_actor_id")
    yield from not_in_source(worker, "worker.gcs_client = ")
    yield from missing(InnerGcsClient, "check_alive", "cluster_id")


def _differences_of_workers() -> Iterator[str]:
    yield from not_in_source(process_watcher, f'os.environ["{RAYLET_PID}"]')


RELIES_ON: Final = (
    Assumption(
        library="ray",
        relies_on="ray._private.state.state tells draining nodes, free resources and, by the"
        " _actor_id of a handle, where an actor is;"
        " global_worker.gcs_client.check_alive asks the GCS, and cluster_id names the cluster",
        seen_with="2.60.0",
        if_it_changes="loud: the controller fails, and /readyz says that the GCS does not answer",
        differences=_differences,
    ),
    Assumption(
        library="ray",
        relies_on=f"{RAYLET_PID} in the environment of workers is the process of their raylet",
        seen_with="2.60.0",
        if_it_changes="silent: /readyz does not notice the end of a raylet",
        differences=_differences_of_workers,
    ),
)
