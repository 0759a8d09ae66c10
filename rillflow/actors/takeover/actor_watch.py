"""Notices actors that have stopped, also where Ray has not, and has others take over from them.

Ray starts an actor again whose process has died, and, some seconds later, one whose node has died.
It does not notice a process that was stopped. Here the signs of life of actors are looked at four
times a second (``rillflow/runtime/supervision/signs_of_life.py``). What takes over is an actor of
the same name, with a new epoch: the one that stopped can write nothing when it goes on.

Used by `actors/controller_actor.py` and `serve/stack/front.py`.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import ray

from rillflow.errors import StoreError
from rillflow.ports.storage.lease import OwnerLeases
from rillflow.private_apis.ray_core.state import place_of
from rillflow.runtime.supervision.convergence import DISPATCHER, Kind
from rillflow.runtime.supervision.signs_of_life import SignsOfLife

log = logging.getLogger("rillflow.takeover")

LOOK_S: Final = 0.25
ASK_S: Final = 1.0
"""Time between two questions to an actor that has answered."""
PROBE_S: Final = 0.5
"""How long the raylet of a node may take to accept a connection."""
UNREACHABLE_S: Final = 15.0
"""How long a node that could not be reached gets no actors; Ray knows of its death by then."""


class Stopped(NamedTuple):
    """An actor that has stopped, and the node that Ray takes it to be on."""

    name: str
    actor: Any
    node: str


StillStopped = Callable[[Sequence[Stopped]], Awaitable[list[Stopped]]]
"""Returns those of some actors that have neither gone on nor been replaced meanwhile."""
TakeOver = Callable[[Sequence[Stopped], StillStopped], Awaitable[None]]
"""Ends actors that have stopped, and starts others of their names; it asks again before."""

Prepare = Callable[[Sequence[Stopped]], Awaitable[object]]
"""Has processes start for the next ones of actors that have probably stopped."""


class ActorWatch:
    """Watches the dispatchers and execution actors of a stack."""

    def __init__(
        self,
        namespace: str,
        names: Sequence[tuple[str, Kind]],
        leases: OwnerLeases,
        take_over: TakeOver,
        prepare: Prepare | None = None,
    ) -> None:
        """Watch actors by their ``names`` in a namespace of Ray, and their ``leases``."""
        self._namespace = namespace
        self._kinds: Mapping[str, Kind] = dict(names)
        self._leases = leases
        self._take_over = take_over
        self._prepare = prepare
        self._prepared: set[str] = set()
        """Actors for whose next ones processes are there, or start."""
        self._preparing: asyncio.Task[None] | None = None
        self._signs = SignsOfLife()
        self._questions: dict[str, asyncio.Task[None]] = {}
        self._handles: dict[str, Any] = {}
        self._taking_over: dict[str, asyncio.Task[None]] = {}
        self._unreachable_s: dict[str, float] = {}

    async def run(self) -> None:
        """Watch until cancelled."""
        try:
            while True:
                await asyncio.sleep(LOOK_S)
                try:
                    await self.look()
                except StoreError as error:
                    log.debug("leases_not_read", extra={"reason": str(error)})
                except Exception:
                    log.exception("signs_of_life_not_checked")
        finally:
            preparing = () if self._preparing is None else (self._preparing,)
            for task in (*self._questions.values(), *self._taking_over.values(), *preparing):
                task.cancel()

    def unreachable(self) -> set[str]:
        """Return the nodes that could not be reached lately, by their ids."""
        now_s = time.monotonic()
        return {node for node, at_s in self._unreachable_s.items() if now_s - at_s < UNREACHABLE_S}

    async def look(self) -> None:
        """Look at everybody once, and begin to have others take over from those that have stopped.

        Raises:
            StoreError: The store cannot be read.
        """
        suspects = self._signs.look(self._kinds, await self._leases.owner_leases())
        self._ask({*suspects, *self._of_kind(DISPATCHER)})
        suspects = [name for name in suspects if self._may_stop(name)]
        self._prepared.intersection_update(suspects)
        if not suspects:
            return
        places = await asyncio.to_thread(self._places, suspects)
        for name in suspects:
            if name not in places:  # Ray, or whoever starts missing actors, is at it
                self._signs.give(name)
        await self._probe({place.node for place in places.values()})
        gone = self.unreachable()
        stopped = self._signs.stopped(
            [name for name, place in places.items() if place.node in gone]
        )
        lost = [
            places[name] for name in stopped if name in places and name not in self._taking_over
        ]
        if lost:
            taking_over = asyncio.create_task(self._hand_over(lost), name="take over")
            self._taking_over.update({each.name: taking_over for each in lost})
        self._prepare_for(places)

    async def _hand_over(self, lost: Sequence[Stopped]) -> None:
        """Have others take over; meanwhile nobody else does so from these actors."""
        try:
            await self._take_over(lost, self._still_stopped)
        except StoreError as error:
            log.debug("leases_not_read", extra={"reason": str(error)})
        except Exception:
            log.exception("not_taken_over", extra={"actors": [each.name for each in lost]})
        finally:
            for each in lost:
                self._taking_over.pop(each.name, None)
                self._forget(each.name)
                self._signs.give(each.name)

    def _prepare_for(self, places: Mapping[str, Stopped]) -> None:
        """Use the time until it is certain that actors have stopped for the start of processes."""
        if self._prepare is None or (self._preparing and not self._preparing.done()):
            return
        likely = self._signs.likely_stopped().intersection(places) - self._taking_over.keys()
        if likely <= self._prepared:
            return
        self._prepared |= likely
        silent = [places[name] for name in sorted(likely)]
        self._preparing = asyncio.create_task(_prepared(self._prepare, silent), name="prepare")

    async def _still_stopped(self, lost: Sequence[Stopped]) -> list[Stopped]:
        """Look again at actors, since whoever takes over may have had to wait for its turn.

        Raises:
            StoreError: The store cannot be read.
        """
        silent = self._signs.still_silent(
            [each.name for each in lost], await self._leases.owner_leases()
        )
        places = await asyncio.to_thread(self._places, sorted(silent))
        return [each for each in lost if _is_same(each, places.get(each.name))]

    def _of_kind(self, kind: Kind) -> Iterator[str]:
        return (name for name, its in self._kinds.items() if its == kind)

    def _may_stop(self, name: str) -> bool:
        """Tell whether the silence of an actor says anything.

        An execution actor of a release without leases renews none.
        """
        return self._kinds[name] == DISPATCHER or self._signs.has_lease(name)

    def _ask(self, names: Collection[str]) -> None:
        """Begin to ask actors, but not one that is being asked."""
        for name in names:
            if name not in self._questions or self._questions[name].done():
                self._questions[name] = asyncio.create_task(self._answer_of(name), name=name)

    async def _answer_of(self, name: str) -> None:
        """Wait for an answer, however long that takes, and then until the next question."""
        try:
            if name not in self._handles:
                self._handles[name] = await asyncio.to_thread(
                    ray.get_actor, name, namespace=self._namespace
                )
            await self._handles[name].report.remote()
            self._signs.give(name)
        except (ray.exceptions.RayError, ValueError, AttributeError):
            self._handles.pop(name, None)
        await asyncio.sleep(ASK_S)

    def _forget(self, name: str) -> None:
        """Ask the next process of an actor from now on."""
        self._handles.pop(name, None)
        question = self._questions.pop(name, None)
        if question is not None:
            question.cancel()

    def _places(self, names: Sequence[str]) -> dict[str, Stopped]:
        """Find those of these actors that Ray takes for alive."""
        places = {}
        for name in names:
            try:
                actor = ray.get_actor(name, namespace=self._namespace)
            except ValueError:
                continue
            is_alive, node = place_of(actor)
            if is_alive:
                places[name] = Stopped(name, actor, node)
        return places

    async def _probe(self, suspected: Collection[str]) -> None:
        """Look which nodes cannot be reached any more, although Ray takes them for alive."""
        nodes = {node["NodeID"]: node for node in await asyncio.to_thread(ray.nodes)}
        asked = [nodes[node] for node in suspected if node in nodes]
        accepts = await asyncio.gather(*map(_accepts, asked))
        for node, is_reached in zip(asked, accepts, strict=True):
            if is_reached:
                self._unreachable_s.pop(node["NodeID"], None)
            else:
                self._unreachable_s[node["NodeID"]] = time.monotonic()


async def _prepared(prepare: Prepare, silent: Sequence[Stopped]) -> None:
    try:
        await prepare(silent)
    except Exception:
        log.exception("not_prepared", extra={"actors": [each.name for each in silent]})


def _is_same(one: Stopped, other: Stopped | None) -> bool:
    """Tell whether two findings are of the same process of an actor."""
    return other is not None and (one.actor, one.node) == (other.actor, other.node)


async def _accepts(node: Mapping[str, Any]) -> bool:
    """Tell whether the raylet of a node accepts connections."""
    try:
        async with asyncio.timeout(PROBE_S):
            _, writer = await asyncio.open_connection(
                node["NodeManagerAddress"], node["NodeManagerPort"]
            )
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
