"""The state of Ray's cluster and of this process that no public function returns.

Also the processes that a node has ready for actors (``Raylet``), and what they do at their start
(``hook_variables``).

Used by `actors`, `actors/takeover/actor_watch.py` and `ray_tasks`.
"""

import importlib
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import ray
from ray._private import process_watcher, ray_constants, worker
from ray._private.function_manager import FunctionActorManager
from ray._private.runtime_env import setup_hook
from ray._private.state import state
from ray._private.worker import global_worker
from ray._raylet import (  # type: ignore[attr-defined] # Ray has no types
    InnerGcsClient,
    RayletClient,
)
from ray.actor import ActorHandle
from ray.runtime_env import RuntimeEnv

from rillflow.private_apis.assumption import Assumption, missing, not_in_source

RAYLET_PID: Final = "RAY_RAYLET_PID"
HOOK: Final = ray_constants.WORKER_PROCESS_SETUP_HOOK_ENV_VAR
PRELOADS: Final = "PRELOADS_RILLFLOW"
"""Set where the hook of a process is one of Rillflow, and not of whoever deploys it."""
ANSWER_S: Final = 5.0
"""How long a raylet may take to answer."""
_MESSAGES: Final = "ray.core.generated.node_manager_pb2"
_KINDS: Final = "ray.core.generated.common_pb2"
_ADDRESSES: Final = "ray._common.network_utils"
_CHANNELS: Final = "ray._private.grpc_utils"
_ENVIRONMENTS: Final = "ray._private.utils"


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


class RayletQuestions:
    """Asks one raylet over gRPC whether it answers, without blocking."""

    def __init__(self, host: str, port: int) -> None:
        self._client: Any = RayletClient(host, port)

    async def ask(self, timeout_s: float) -> None:
        """Ask.

        Raises:
            RayError: It does not answer in time.
        """
        await self._client.async_get_worker_pids(timeout_ms=int(timeout_s * 1000))


def raylet_pid() -> int | None:
    """Return the process that has started this worker; None outside of workers."""
    pid = os.environ.get(RAYLET_PID, "")
    return int(pid) if pid.isdecimal() else None


def hook_variables(hook: Callable[[], None]) -> dict[str, str]:
    """Return the environment variables by which a process runs a hook before it has anything to do.

    They are for a runtime environment. Ray has the hook as long as this job has actors; a process
    ends whose hook raises an error. It asks the GCS. Nothing is returned where whoever deploys has
    a hook, since a process has one.
    """
    if os.environ.get(HOOK) and PRELOADS not in os.environ:
        return {}
    manager: Any = global_worker.function_actor_manager
    return {HOOK: setup_hook.decode_function_key(manager.export_setup_func(hook)), PRELOADS: "1"}


def no_hook() -> dict[str, str]:
    """Return the variables by which what this process starts does not inherit its hook."""
    return {HOOK: "", PRELOADS: ""} if os.environ.get(PRELOADS) else {}


def without_hook(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a runtime environment without those of ``hook_variables``."""
    own = {HOOK, PRELOADS} if PRELOADS in variables else set()
    return {name: value for name, value in variables.items() if name not in own}


class Raylet:
    """The process of Ray that starts the processes of one node, asked over gRPC; it blocks.

    Every method raises whatever gRPC raises if the raylet does not answer in time.
    """

    def __init__(self, host: str, port: int) -> None:
        # gRPC costs memory, and only the controller asks.
        self._messages = importlib.import_module(_MESSAGES)
        self._worker = importlib.import_module(_KINDS).WORKER
        address = importlib.import_module(_ADDRESSES).build_address(host, port)
        self._channel = importlib.import_module(_CHANNELS).init_grpc_channel(address)
        stubs = importlib.import_module(f"{_MESSAGES}_grpc")
        self._stub = stubs.NodeManagerServiceStub(self._channel)

    def start_workers(self, count: int, keep_s: int) -> None:
        """Have processes start with the runtime environment of this one, and wait for actors.

        Ray gives a process to the first actor or task that asks for one with this environment, and
        may end it after ``keep_s``.
        """
        text = ray.get_runtime_context().get_runtime_env_string()
        environments = importlib.import_module(_ENVIRONMENTS)
        told = environments.get_runtime_env_info(RuntimeEnv.deserialize(text))
        told.serialized_runtime_env = text  # Ray compares it with that of the actor, as a text.
        request = self._messages.PrestartWorkersRequest(
            runtime_env_info=told, num_workers=count, keep_alive_duration_secs=keep_s
        )
        self._stub.PrestartWorkers(request, timeout=ANSWER_S)

    def unused_workers(self) -> set[bytes]:
        """Return the ids of the processes that have had nothing to do yet."""
        request = self._messages.GetNodeStatsRequest(include_memory_info=False)
        workers = self._stub.GetNodeStats(request, timeout=ANSWER_S).core_workers_stats
        nobody = ray.ActorID.nil().binary()
        return {
            each.worker_id
            for each in workers
            if each.worker_type == self._worker
            and not each.num_executed_tasks
            and each.actor_id in (b"", nobody)
        }

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()


def _differences() -> Iterator[str]:
    yield from missing(state, "get_draining_nodes", "available_resources_per_node", "actor_table")
    yield from not_in_source(type(state), '"State": gcs_pb2', '"NodeID": binary_to_hex')
    yield from missing(ActorHandle, "_actor_id")
    yield from not_in_source(worker, "worker.gcs_client = ")
    yield from missing(InnerGcsClient, "check_alive", "cluster_id")


def _differences_of_hooks() -> Iterator[str]:
    yield from missing(FunctionActorManager, "export_setup_func")
    yield from missing(setup_hook, "decode_function_key")
    yield from not_in_source(setup_hook, "setup_func()", "_encode_function_key(worker_process")


def _differences_of_workers() -> Iterator[str]:
    yield from not_in_source(process_watcher, f'os.environ["{RAYLET_PID}"]')


def _differences_of_questions() -> Iterator[str]:
    yield from missing(RayletClient, "async_get_worker_pids")


def _differences_of_raylets() -> Iterator[str]:
    messages = importlib.import_module(_MESSAGES)
    yield from missing(importlib.import_module(_KINDS), "WORKER")
    yield from missing(importlib.import_module(_ADDRESSES), "build_address")
    yield from missing(importlib.import_module(_CHANNELS), "init_grpc_channel")
    yield from missing(importlib.import_module(_ENVIRONMENTS), "get_runtime_env_info")
    fields = {
        "PrestartWorkersRequest": ("runtime_env_info", "num_workers", "keep_alive_duration_secs"),
        "GetNodeStatsRequest": ("include_memory_info",),
        "GetNodeStatsReply": ("core_workers_stats",),
    }
    for name, expected in fields.items():
        known = getattr(messages, name).DESCRIPTOR.fields_by_name
        yield from (f"{name} has no {field}" for field in expected if field not in known)


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
    Assumption(
        library="ray",
        relies_on="RayletClient(host, port).async_get_worker_pids(timeout_ms) asks a raylet",
        seen_with="2.60.0",
        if_it_changes="loud: /readyz says that the raylet does not answer",
        differences=_differences_of_questions,
    ),
    Assumption(
        library="ray",
        relies_on=f"a process that has {HOOK} in its environment runs the function that"
        " function_actor_manager.export_setup_func has exported, and none where it is empty",
        seen_with="2.60.0",
        if_it_changes="loud if the function cannot be exported: no controller starts; silent if it"
        " is not run: while an actor is replaced, nobody answers for it a second longer"
        " (tests/cluster/test_spare_workers.py notices)",
        differences=_differences_of_hooks,
    ),
    Assumption(
        library="ray",
        relies_on="a raylet answers PrestartWorkers and GetNodeStats over gRPC, and gives a process"
        " that it has started so to the next actor with the same runtime environment",
        seen_with="2.60.0",
        if_it_changes="silent: while an actor is replaced, nobody answers for it a second longer"
        " (tests/cluster/test_spare_workers.py notices), and the log of the controller has"
        " spare_workers_not_started if the raylet refuses",
        differences=_differences_of_raylets,
    ),
)
