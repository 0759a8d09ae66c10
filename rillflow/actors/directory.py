"""The directory: the actor that owns an execution, computed from its id without a store look-up.

Used by `actors`, `client` and `serve/stack`.
"""

import asyncio
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

import ray

from rillflow.actors.names import (
    DIRECTORY_ACTOR,
    dedicated_actor_name,
    execution_actor_name,
    is_dedicated_actor,
)
from rillflow.actors.peers import Peer
from rillflow.errors import UnavailableError
from rillflow.ids import DEDICATED_LISTINGS, ExecutionId
from rillflow.ports.storage.store import Store
from rillflow.runtime.backpressure.admission import SubmissionLimit
from rillflow.runtime.process.clock import SystemClock
from rillflow.runtime.process.machine_memory import memory_bytes
from rillflow.runtime.routing.dedicated_limit import DedicatedLimit, most_dedicated
from rillflow.runtime.routing.router import ExecutionRouter, OwnerRef
from rillflow.runtime.routing.start_turns import LONGEST_START_S, StartTurns
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

_RAY_FAILED: Final = (ray.exceptions.RayError, ConnectionError, RuntimeError, ValueError)
"""What Ray raises if it cannot start an actor, or find it by its name."""
MOST_KNOWN: Final = 500
"""How many actors of dedicated executions are remembered, besides those being called."""


class RayExecutions(ExecutionRouter):
    """The executions of the cluster; calls to one owner are sent in batches."""

    def __init__(
        self,
        settings: Settings,
        spawn: Callable[[ExecutionId], Any],
        store: Store,
        *,
        names: Callable[[str], set[str]] | None = None,
        turns: StartTurns | None = None,
    ) -> None:
        """Find owners; ``spawn`` starts, or finds, the actor of a dedicated execution.

        The ``store`` tells whose the dedicated executions are, and how many may connect to it.
        Ray tells the ``names`` of all actors of a namespace, unless somebody else does.
        """
        namespace = settings.namespace
        most = settings.max_queued_submissions

        def owner_at(index: int) -> OwnerRef:
            # The first owner is in every partition map; any other may end with another map.
            moves = index > 0
            peer = Peer(execution_actor_name(index), namespace, mortal=moves)
            return OwnerRef(
                peer.call,
                watcher=uuid.uuid4().hex,
                limit=SubmissionLimit(most),
                is_near=peer.is_near,
                moves=moves,
            )

        limit = _limit_of(settings, store, names or names_of_actors)
        turns = StartTurns() if turns is None else turns

        async def admit(execution_id: ExecutionId) -> None:
            turns.admit(execution_id)
            await limit.admit(execution_id)

        owners = list(map(owner_at, range(settings.execution_actors)))
        super().__init__(owners, DedicatedActors(namespace, spawn, turns), owner_at, admit)
        self.spawner = ActorSpawner(namespace, spawn, turns)
        """Starts actors in the same turns."""


def _limit_of(settings: Settings, store: Store, names: Callable[[str], set[str]]) -> DedicatedLimit:
    async def dedicated_names() -> set[str]:
        found = await asyncio.to_thread(names, settings.namespace)
        return set(filter(is_dedicated_actor, found))

    async def most_of_these() -> int:
        wanted = settings.max_dedicated
        connections = await store.connections() if wanted is None else None
        return most_dedicated(wanted, memory_bytes(), connections)

    return DedicatedLimit(
        most_of_these,
        dedicated_names,
        lambda: store.unfinished(DEDICATED_LISTINGS),
        name_of=dedicated_actor_name,
        clock=SystemClock(),
    )


class DedicatedActors:
    """The actors of dedicated executions, by name; see the ``DedicatedOwners`` protocol.

    Whether one is alive shows at the first call to it, so nothing here waits for Ray.
    """

    def __init__(
        self,
        namespace: str,
        spawn: Callable[[ExecutionId], Any],
        turns: StartTurns | None = None,
    ) -> None:
        self._namespace = namespace
        self._spawn = spawn
        self._turns = StartTurns() if turns is None else turns
        self._known: OrderedDict[ExecutionId, _Owner] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def find(self, execution_id: ExecutionId) -> OwnerRef | None:
        """Return the actor of an execution, which may have left."""
        owner = self._known.get(execution_id)
        if owner is None:
            name = dedicated_actor_name(execution_id)
            owner = _Owner(name, self._namespace)
        return self._keep(execution_id, owner)

    def spawn(self, execution_id: ExecutionId) -> OwnerRef:
        """Return the actor of an execution; the first call starts it if there is none."""
        self.forget(execution_id)
        start = partial(started_in_turn, self._turns, self._spawn, execution_id)
        name = dedicated_actor_name(execution_id)
        return self._keep(execution_id, _Owner(name, self._namespace, start))

    def forget(self, execution_id: ExecutionId) -> None:
        """Look an actor up again the next time."""
        owner = self._known.pop(execution_id, None)
        if owner is not None and owner.is_idle:
            owner.close()

    def _keep(self, execution_id: ExecutionId, owner: "_Owner") -> OwnerRef:
        self._known[execution_id] = owner
        self._known.move_to_end(execution_id)
        excess = len(self._known) - MOST_KNOWN
        if excess > 0:
            oldest = [known for known, _ in zip(self._known, range(excess), strict=False)]
            for known in oldest:
                if known != execution_id and self._known[known].is_idle:
                    self.forget(known)
        return owner


class ActorSpawner:
    """Starts the actors of dedicated executions; see the ``Spawner`` protocol."""

    def __init__(
        self, namespace: str, spawn: Callable[[ExecutionId], Any], turns: StartTurns
    ) -> None:
        """Spawn by ``spawn``, which starts or finds the actor of an execution, in ``turns``."""
        self._namespace = namespace
        self._spawn = spawn
        self._turns = turns

    async def spawn(self, execution_id: ExecutionId) -> None:
        """Start an actor, unless there is one; return once it accepts calls."""
        actor = await started_in_turn(self._turns, self._spawn, execution_id)
        await actor.ready.remote()

    async def without_actor(self, execution_ids: Sequence[ExecutionId]) -> list[ExecutionId]:
        """Return those that have no actor, not even one that is starting or restarting."""
        names = await asyncio.to_thread(names_of_actors, self._namespace)
        return [each for each in execution_ids if dedicated_actor_name(each) not in names]


async def started_in_turn(
    turns: StartTurns, spawn: Callable[[ExecutionId], Any], execution_id: ExecutionId
) -> Any:
    """Start or find an actor when it is its turn, which lasts until it accepts calls.

    Raises:
        Exception: Ray cannot start it.
    """
    async with turns.turn(execution_id):
        # Ray blocks until it has an answer, and the executions of this process must not be blocked.
        actor = await asyncio.to_thread(spawn, execution_id)
        with suppress(TimeoutError, ray.exceptions.RayError):
            async with asyncio.timeout(LONGEST_START_S):
                await actor.socket.remote()
    return actor


class _Owner(OwnerRef):
    """The actor of a dedicated execution; ``start`` starts or finds it at the first call."""

    def __init__(
        self, name: str, namespace: str, start: Callable[[], Awaitable[Any]] | None = None
    ) -> None:
        self._peer = Peer(name, namespace, mortal=True)
        self._start = start
        self._starting = asyncio.Lock()
        super().__init__(self._call, watcher=uuid.uuid4().hex, is_near=self._peer.is_near)

    async def _call(self, message: bytes) -> bytes:
        if self._start is not None:
            async with self._starting:
                await self._start_once()
        return await self._peer.call(message)

    async def _start_once(self) -> None:
        if self._start is not None:
            try:
                await self._start()
            except _RAY_FAILED as error:
                raise UnavailableError(f"{self._peer.name} could not be started") from error
            self._start = None

    def close(self) -> None:
        """Close the connection."""
        self._peer.close()


async def find_actor(settings: Settings, name: str) -> Any:
    """Return the handle of an actor of the stack by its name; None if there is none."""
    try:
        return await asyncio.to_thread(ray.get_actor, name, namespace=settings.namespace)
    except ValueError:
        return None


def names_of_actors(namespace: str) -> set[str]:
    """Return the names of all actors, including those that are starting or restarting; asks Ray."""
    named = ray.util.list_named_actors(all_namespaces=True)
    return {each["name"] for each in named if each["namespace"] == namespace}


async def find_settings(namespace: str) -> Settings:
    """Read the settings of the running stack.

    Raises:
        UnavailableError: No stack runs on this Ray cluster.
    """
    try:
        actor = await asyncio.to_thread(ray.get_actor, DIRECTORY_ACTOR, namespace=namespace)
    except ValueError as error:
        raise UnavailableError(
            f"no Rillflow stack runs in the Ray namespace {namespace!r}; start one with"
            " `rillflow up` or `serve run serve.app:app`"
        ) from error
    facts = await actor.ready.remote()
    settings: Settings = facts["settings"]
    return settings
