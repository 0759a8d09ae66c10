"""The directory: the actor that owns an execution, computed from its id without a store look-up.

Used by `actors`, `client` and `serve/stack`.
"""

import asyncio
import uuid
from collections import OrderedDict
from collections.abc import Callable, Sequence
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
from rillflow.errors import GoneError, NotOwnerError, UnavailableError
from rillflow.ids import ExecutionId, is_dedicated
from rillflow.ports.executions import Call, End, Reply, Submission
from rillflow.runtime.backpressure.admission import SubmissionLimit
from rillflow.runtime.process.clock import SystemClock
from rillflow.runtime.routing.dedicated_limit import DedicatedLimit
from rillflow.runtime.routing.router import ExecutionRouter, OwnerRef
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

    def __init__(self, settings: Settings, spawn: Callable[[ExecutionId], Any]) -> None:
        """Find owners; ``spawn`` starts, or finds, the actor of a dedicated execution."""
        most = settings.max_queued_submissions

        def owner_at(index: int) -> _Owner:
            # The first owner is in every partition map; any other may end with another map.
            return _Owner(
                execution_actor_name(index),
                settings.namespace,
                limit=SubmissionLimit(most),
                moves=index > 0,
            )

        owners = list(map(owner_at, range(settings.execution_actors)))
        super().__init__(owners, DedicatedActors(settings.namespace, spawn), owner_at)
        self._namespace = settings.namespace
        self._limit = DedicatedLimit(settings.max_dedicated, self._dedicated_names, SystemClock())

    async def call(self, call: Call) -> Reply:
        """Make one call at the owner of its execution.

        Raises:
            OverloadedError: The limit of dedicated executions is reached (429).
            StoreError: The owner could not be reached in time.
        """
        if isinstance(call, Submission):
            await self._admit(call)
        return await super().call(call)

    async def run(self, submission: Submission, timeout_s: float, show: str) -> tuple[Reply, End]:
        """Submit an execution and wait until it has ended.

        Raises:
            OverloadedError: The limit of dedicated executions is reached (429).
            StoreError: The owner could not be reached in time.
        """
        await self._admit(submission)
        return await super().run(submission, timeout_s, show)

    async def _admit(self, submission: Submission) -> None:
        if is_dedicated(submission.execution_id):
            await self._limit.admit(dedicated_actor_name(submission.execution_id))

    async def _dedicated_names(self) -> list[str]:
        names = await asyncio.to_thread(names_of_actors, self._namespace)
        return list(filter(is_dedicated_actor, names))


class DedicatedActors:
    """The actors of dedicated executions, by name; see the ``DedicatedOwners`` protocol.

    Whether one is alive shows at the first call to it, so nothing here waits for Ray.
    """

    def __init__(self, namespace: str, spawn: Callable[[ExecutionId], Any]) -> None:
        self._namespace = namespace
        self._spawn = spawn
        self._known: OrderedDict[ExecutionId, _Owner] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def find(self, execution_id: ExecutionId) -> OwnerRef | None:
        """Return the actor of an execution, which may have left."""
        owner = self._known.get(execution_id)
        if owner is None:
            name = dedicated_actor_name(execution_id)
            owner = _Owner(name, self._namespace, mortal=True)
        return self._keep(execution_id, owner)

    def spawn(self, execution_id: ExecutionId) -> OwnerRef:
        """Return the actor of an execution; the first call starts it if there is none."""
        self.forget(execution_id)
        start = partial(self._spawn, execution_id)
        name = dedicated_actor_name(execution_id)
        return self._keep(execution_id, _Owner(name, self._namespace, mortal=True, start=start))

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

    def __init__(self, namespace: str, spawn: Callable[[ExecutionId], Any]) -> None:
        """Spawn by ``spawn``, which starts or finds the actor of an execution."""
        self._namespace = namespace
        self._spawn = spawn

    async def spawn(self, execution_id: ExecutionId) -> None:
        """Start an actor, unless there is one; return once it accepts calls."""
        actor = await asyncio.to_thread(self._spawn, execution_id)
        await actor.ready.remote()

    async def without_actor(self, execution_ids: Sequence[ExecutionId]) -> list[ExecutionId]:
        """Return those that have no actor, not even one that is starting or restarting."""
        names = await asyncio.to_thread(names_of_actors, self._namespace)
        return [each for each in execution_ids if dedicated_actor_name(each) not in names]


class _Owner(OwnerRef):
    """An actor that owns executions; ``start`` starts or finds it at the first call."""

    def __init__(  # noqa: PLR0913 - what tells actors apart
        self,
        name: str,
        namespace: str,
        *,
        mortal: bool = False,
        moves: bool = False,
        start: Callable[[], Any] | None = None,
        limit: SubmissionLimit | None = None,
    ) -> None:
        self._peer = Peer(name, namespace, mortal=mortal or moves)
        self._moves = moves
        self._start = start
        self._starting = asyncio.Lock()
        super().__init__(self._call, watcher=uuid.uuid4().hex, limit=limit)

    @property
    def is_near(self) -> bool:
        """Tell whether the owner is on this node, as far as is known."""
        return self._peer.way in {"none", "socket"}

    async def _call(self, message: bytes) -> bytes:
        if self._start is not None:
            async with self._starting:
                await self._start_once()
        try:
            return await self._peer.call(message)
        except GoneError as error:
            if not self._moves:
                raise
            raise NotOwnerError(f"{self._peer.name} owns nothing now") from error

    async def _start_once(self) -> None:
        if self._start is not None:
            # Ray blocks until it has an answer, and the executions of this process must not be
            # blocked.
            try:
                await asyncio.to_thread(self._start)
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
