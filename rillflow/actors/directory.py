"""The way to an execution: from its id to the actor that owns it, without a store look-up."""

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

import ray

from rillflow.actors.names import DIRECTORY_ACTOR, execution_actor_name, owner_index
from rillflow.actors.peers import Peer
from rillflow.errors import StoreError
from rillflow.ids import ExecutionId, is_dedicated
from rillflow.ports.executions import (
    Call,
    Query,
    Reply,
    ResourceCall,
    Submission,
    TrafficCall,
    Watch,
)
from rillflow.runtime.homes import Home
from rillflow.runtime.host import ELSEWHERE
from rillflow.settings import Settings

NOBODY = ""
"""Watcher of a call that only wants to find, or start, the owner."""
ACTOR_OPTIONS: dict[str, Any] = {
    "lifetime": "detached",
    "get_if_exists": True,
    "max_restarts": -1,
    "max_task_retries": -1,
    "num_cpus": 0,
    "max_concurrency": 10_000,
    "enable_task_events": False,
}


class RayExecutions:
    """The executions of the cluster; calls to one owner travel in batches."""

    def __init__(self, settings: Settings, spawn: Callable[[ExecutionId], Any]) -> None:
        """Find owners; ``spawn`` starts, or finds, the actor of a dedicated execution."""
        self._settings = settings
        self._spawn = spawn
        self._homes = [
            _Owner(execution_actor_name(index), settings.namespace)
            for index in range(settings.execution_actors)
        ]
        self._dedicated: dict[ExecutionId, _Owner] = {}

    async def call(self, call: Call) -> Reply:
        """Make one call at the owner of its execution.

        Raises:
            StoreError: The owner could not be reached in time.
        """
        if not isinstance(call, TrafficCall) and is_dedicated(call.execution_id):
            return await self._call_dedicated(call)
        return await self._home(call.execution_id).ask(call)

    async def ask_all(self, call: ResourceCall) -> list[Reply]:
        """Make a call at every home; homes that cannot be reached are left out."""
        asked = (home.ask(call) for home in self._homes)
        answered = await asyncio.gather(*asked, return_exceptions=True)
        return [reply for reply in answered if isinstance(reply, Reply)]

    async def wait(self, execution_id: ExecutionId, timeout_s: float) -> bool:
        """Wait until an execution has ended; False when the time was not enough."""
        if is_dedicated(execution_id):
            reply = await self._call_dedicated(Watch(execution_id=execution_id, watcher=NOBODY))
            if not reply.raise_for_error().changed:
                return True
            owner = self._alive(execution_id) or self._home(execution_id)
            return await owner.wait(execution_id, timeout_s)
        return await self._home(execution_id).wait(execution_id, timeout_s)

    def _home(self, execution_id: ExecutionId) -> "_Owner":
        return self._homes[owner_index(execution_id, len(self._homes))]

    async def _call_dedicated(self, call: Call) -> Reply:
        execution_id = call.execution_id
        if isinstance(call, Submission):
            return await self._spawned(execution_id).ask(call)
        owner = self._alive(execution_id)
        if owner is not None:
            try:
                return await owner.ask(call)
            except StoreError:
                self._dedicated.pop(execution_id, None)
        reply = await self._home(execution_id).ask(call)
        if reply.kind == ELSEWHERE and not isinstance(call, Query):
            return await self._spawned(execution_id).ask(call)
        return reply

    def _alive(self, execution_id: ExecutionId) -> "_Owner | None":
        owner = self._dedicated.get(execution_id)
        if owner is None:
            owner = _Owner(execution_id, self._settings.namespace, mortal=True)
            try:
                owner.peer.handle()
            except ValueError:
                return None
            self._dedicated[execution_id] = owner
        return owner

    def _spawned(self, execution_id: ExecutionId) -> "_Owner":
        self._spawn(execution_id)
        owner = _Owner(execution_id, self._settings.namespace, mortal=True)
        self._dedicated[execution_id] = owner
        return owner


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
