"""Processes that wait for actors, so that an actor starts without waiting for one.

Ray may have to bring the code of a runtime environment to a node, and to install its packages,
before it starts the first process there. Meanwhile nobody would answer for an actor that is
replaced. So the controller has a task import everything on that node before it drains the actor.
The actor gets another process, since Ray gives none to an actor that has run a task. That process
takes a second from its start until it is there, so it is started before as well, and Ray gives it
to the next actor with the same runtime environment. Meanwhile it imports what actors need
(``preloading`` in `ray_context.py`), which takes as long again. On a cluster of several nodes some
wait at all times, for the actors of a node that dies.

Used by `actors/controller_actor.py`.
"""

import asyncio
import logging
import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from typing import Any, Final, Protocol

import ray

from rillflow.actors.monitoring.reports import ObservedActor
from rillflow.actors.placing import node_again, on_node, owners, places
from rillflow.actors.ray_context import raylet_address
from rillflow.private_apis.ray_core.state import Raylet
from rillflow.ray_tasks.exports import actor_class, remote_function
from rillflow.runtime.supervision.convergence import EXECUTION, End, Replace, Step
from rillflow.runtime.supervision.deployed import code_version
from rillflow.settings import Settings
from rillflow.stores import open_store

log = logging.getLogger("rillflow.controller")

PATIENCE_S: Final = 20.0
"""How long a node may take to be prepared; without that an actor takes longer to start."""
KEEP_S: Final = 600
"""How long a process waits; then Ray may end it."""
LOOK_S: Final = 0.05
KEPT_S: Final = 10.0
"""Between looks whether those that wait at all times are there."""
END_S: Final = 5.0
"""How long the end of those that wait may take."""


class NodeWorkers(Protocol):
    """The processes of one node; every method blocks, and may raise anything."""

    def start_workers(self, count: int, keep_s: int) -> None:
        """Have so many start, which may be ended after ``keep_s`` if nobody has needed them."""
        ...

    def unused_workers(self) -> set[bytes]:
        """Return the ids of those that have had nothing to do yet."""
        ...

    def close(self) -> None:
        """Ask nothing more."""
        ...


class SpareWorkers:
    """Has nodes start processes for actors, and remembers those that nobody has needed yet."""

    def __init__(
        self,
        starter: Callable[[str], NodeWorkers] | None = None,
        *,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Ask the raylets of Ray's nodes, or whatever ``starter`` returns for the id of a node."""
        self._starter = starter or raylet_of
        self._now_s = now_s
        self._spare: dict[str, set[bytes]] = {}
        self._turns = defaultdict[str, asyncio.Lock](asyncio.Lock)
        """One for each node: a node on which a process stands still does not answer for seconds."""
        self._keeping: asyncio.Task[bool] | None = None
        self._next_s = 0.0

    def keep(self, counts: Mapping[str, int]) -> None:
        """Have so many processes wait on each node from now on; called again and again.

        It returns at once, and looks from time to time only.

        Args:
            counts: How many by the ids of the nodes.
        """
        if self._now_s() < self._next_s or (self._keeping and not self._keeping.done()):
            return
        self._next_s = self._now_s() + KEPT_S
        if counts:
            keeping = self.start(counts, PATIENCE_S)
            self._keeping = asyncio.create_task(keeping, name="spare")

    async def kept(self) -> None:
        """Wait for the look that is under way."""
        if self._keeping is not None:
            await self._keeping

    async def prepare(self, nodes: Sequence[str | None], store_url: str) -> bool:
        """Have all that an actor needs on a node before the one before it drains.

        Args:
            nodes: That of each actor that starts then; None lets Ray choose.
            store_url: The store that these actors open.

        Returns:
            Whether all nodes have answered; if not, the log says why.
        """
        # A task would take the process that waits, and where one waits, Ray has brought the code.
        where: dict[str | None, str] = {
            node: node for node in nodes if node and self._spare.get(node)
        }
        if others := [node for node in nodes if node not in where]:
            where |= await import_on(others, store_url)
        counts = Counter(where[node] for node in nodes if node in where)
        return await self.start(counts, PATIENCE_S) and where.keys() >= set(nodes)

    async def start(self, counts: Mapping[str, int], patience_s: float) -> bool:
        """Have so many processes wait on each node; those that wait already count.

        An actor starts without one too, only later. So what fails is logged, and nothing else. A
        node that does not answer holds up no other.

        Args:
            counts: How many by the ids of the nodes.
            patience_s: How long they may take to start.

        Returns:
            Whether all nodes have answered.
        """
        answers = (self._start_on(node, count, patience_s) for node, count in counts.items())
        return all(await asyncio.gather(*answers))

    async def _start_on(self, node: str, count: int, patience_s: float) -> bool:
        try:
            async with self._turns[node]:
                has_come = await asyncio.to_thread(self._started, node, count, patience_s)
        except Exception as error:
            log.warning("spare_workers_not_started", extra={"node": node}, exc_info=error)
            return False
        if not has_come:
            log.warning("spare_workers_late", extra={"node": node})
        return True

    async def end(self) -> None:
        """End those that wait: each is given to an actor, which is ended.

        Ray has no call for that. It is given up after some seconds, since Ray may end them too.
        """
        self._next_s = math.inf
        try:
            async with asyncio.timeout(END_S):
                await asyncio.gather(*map(self._end_on, list(self._spare)))
        except Exception as error:  # noqa: BLE001 - whatever else is to end does not wait for it
            log.warning("spare_workers_not_ended", extra={"reason": str(error)})

    async def _end_on(self, node: str) -> None:
        async with self._turns[node]:
            count = await asyncio.to_thread(self._waiting, node)
            await asyncio.gather(*(_end_one_on(node) for _ in range(count)))

    def _waiting(self, node: str) -> int:
        """Return how many wait on a node, and count on none of them any more."""
        with closing(self._starter(node)) as starter:
            return len(self._spare.pop(node) & starter.unused_workers())

    def _started(self, node: str, count: int, patience_s: float) -> bool:
        """Start what is missing on a node, and wait for it; tell whether it has come.

        It waits as long again as that took, since it is not seen when a process has imported
        everything. An actor that gets one earlier waits for what is left.
        """
        begun_s = time.monotonic()
        with closing(self._starter(node)) as starter:
            before = starter.unused_workers()
            spare = self._spare[node] = self._spare.get(node, set()) & before
            missing = count - len(spare)
            if missing <= 0:
                return True
            starter.start_workers(missing, KEEP_S)
            come = set[bytes]()
            while len(come) < missing and time.monotonic() < begun_s + patience_s:
                time.sleep(LOOK_S)
                come = starter.unused_workers() - before
        if len(come) < missing:
            return False
        spare |= come
        time.sleep(time.monotonic() - begun_s)
        return True


class _Placeholder:
    """An actor that does nothing."""

    async def is_there(self) -> None:
        """Return when it is."""


async def _end_one_on(node: str) -> None:
    options: dict[str, Any] = {"num_cpus": 0, "max_restarts": 0, **on_node(node)}
    actor = await asyncio.to_thread(actor_class(_Placeholder).options(**options).remote)
    await actor.is_there.remote()
    await asyncio.to_thread(ray.kill, actor)


def next_nodes(
    settings: Settings, step: Step, seen: Mapping[str, ObservedActor], nodes: Sequence[str]
) -> list[str | None]:
    """Return where actors start after a step for which others drain; None lets Ray choose.

    Args:
        settings: Those of the stack.
        step: What is to be done.
        seen: All actors by name.
        nodes: Those that may have actors.
    """
    match step:
        case Replace(name):
            return [node_again(seen[name].node, nodes)]
        case End(names) if any(seen[name].running.kind == EXECUTION for name in names):
            # Those of another partition map start next.
            where = places(settings, nodes)
            return [where[name] for name in owners(settings)]
        case _:
            return []


def wanted_spares(actors: Collection[str], nodes: Collection[str]) -> dict[str, int]:
    """Return how many processes have to wait on each node for the actors of one that dies.

    Args:
        actors: The node of each actor.
        nodes: Those that may have actors; on a single one nobody waits.

    Returns:
        As many on each as it gets if the one with most actors dies.
    """
    if len(nodes) <= 1 or not actors:
        return {}
    most = max(Counter(actors).values())
    return dict.fromkeys(nodes, -(-most // (len(nodes) - 1)))


def raylet_of(node: str) -> Raylet:
    """Reach the raylet of a node.

    Raises:
        LookupError: There is no such node any more.
    """
    return Raylet(*raylet_address(node))


async def import_on(nodes: Collection[str | None], store_url: str) -> dict[str | None, str]:
    """Have nodes import what actors do that open a store.

    Args:
        nodes: Their ids; None is any node.
        store_url: The store.

    Returns:
        The ids of those that have, the one that Ray chose for None among them.
    """
    begun = await asyncio.to_thread(_start_imports, set(nodes), store_url)
    tasks = {node: asyncio.wrap_future(each) for node, each in begun.items()}
    done, late = await asyncio.wait(tasks.values(), timeout=PATIENCE_S)
    for each in late:
        each.cancel()
    if late:
        log.warning("nodes_not_prepared", extra={"nodes": len(late)})
    return {
        node: each.result()
        for node, each in tasks.items()
        if each in done and each.exception() is None
    }


def _start_imports(nodes: Collection[str | None], store_url: str) -> dict[str | None, Any]:
    task = remote_function(_import_everything)
    options = {"num_cpus": 0, "enable_task_events": False}
    tasks = {node: task.options(**options, **on_node(node)) for node in nodes}
    return {node: each.remote(store_url).future() for node, each in tasks.items()}


def _import_everything(store_url: str) -> str:
    """Import the modules of the actors, which come with this one, and those of the store."""
    open_store(store_url)
    code_version()
    return str(ray.get_runtime_context().get_node_id())
