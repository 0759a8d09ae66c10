"""The way to an execution: from its id to the actor that owns it, without a store look-up."""

import uuid
from collections.abc import Callable
from typing import Any

import ray

from rillflow.actors.names import DIRECTORY_ACTOR, execution_actor_name
from rillflow.actors.peers import Peer
from rillflow.errors import StoreError
from rillflow.ids import ExecutionId
from rillflow.runtime.homes import Home
from rillflow.runtime.routes import Routes
from rillflow.settings import Settings

ACTOR_OPTIONS: dict[str, Any] = {
    "lifetime": "detached",
    "get_if_exists": True,
    "max_restarts": -1,
    "max_task_retries": -1,
    "num_cpus": 0,
    "max_concurrency": 10_000,
    "enable_task_events": False,
}


class RayExecutions(Routes):
    """The executions of the cluster; calls to one owner travel in batches."""

    def __init__(self, settings: Settings, spawn: Callable[[ExecutionId], Any]) -> None:
        """Find owners; ``spawn`` starts, or finds, the actor of a dedicated execution."""
        homes = [
            _Owner(execution_actor_name(index), settings.namespace)
            for index in range(settings.execution_actors)
        ]
        super().__init__(homes, _DedicatedActors(settings, spawn))


class _DedicatedActors:
    """The actors of dedicated executions, by name."""

    def __init__(self, settings: Settings, spawn: Callable[[ExecutionId], Any]) -> None:
        self._namespace = settings.namespace
        self._spawn = spawn
        self._known: dict[ExecutionId, _Owner] = {}

    def find(self, execution_id: ExecutionId) -> Home | None:
        owner = self._known.get(execution_id)
        if owner is None:
            owner = _Owner(execution_id, self._namespace, mortal=True)
            try:
                owner.peer.handle()
            except ValueError:
                return None
            self._known[execution_id] = owner
        return owner

    def spawn(self, execution_id: ExecutionId) -> Home:
        self._spawn(execution_id)
        owner = self._known[execution_id] = _Owner(execution_id, self._namespace, mortal=True)
        return owner

    def forget(self, execution_id: ExecutionId) -> None:
        self._known.pop(execution_id, None)


class _Owner(Home):
    """An actor that owns executions."""

    def __init__(self, name: str, namespace: str, *, mortal: bool = False) -> None:
        self.peer = Peer(name, namespace, mortal=mortal)
        super().__init__(self.peer.call, watcher=uuid.uuid4().hex)


async def find_settings(namespace: str) -> Settings:
    """Ask the running stack for its settings.

    Raises:
        StoreError: No stack runs on this Ray cluster.
    """
    try:
        actor = ray.get_actor(DIRECTORY_ACTOR, namespace=namespace)
    except ValueError as error:
        raise StoreError(
            f"no Rillflow stack runs in the Ray namespace {namespace!r}; start one with"
            " `rillflow up` or `serve run serve.app:app`"
        ) from error
    facts = await actor.ready.remote()
    settings: Settings = facts["settings"]
    return settings
