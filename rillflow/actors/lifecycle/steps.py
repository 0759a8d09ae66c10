"""Carries out the steps of the controller: starts actors, ends them, and has them replaced.

Each actor finishes what it is at before it is ended. That is waited for without the lock of
`actors/takeover/claims.py`, so that others can take over meanwhile.

Used by `actors/controller_actor.py`.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import ray
from ray.exceptions import RayActorError

from rillflow.actors.execution_actor import spawn_dedicated
from rillflow.actors.lifecycle.drain import all_leave
from rillflow.actors.lifecycle.starts import Starts
from rillflow.actors.monitoring.reports import ObservedActor, Reports
from rillflow.actors.names import kind_of
from rillflow.actors.placing import node_again, places, start
from rillflow.actors.takeover.claims import Claim, Claims
from rillflow.actors.takeover.takeovers import START_S
from rillflow.ports.deployment import Deployment
from rillflow.runtime.supervision.convergence import (
    DEDICATED,
    DISPATCHER,
    End,
    Kind,
    Replace,
    Start,
)
from rillflow.runtime.supervision.rebalancing import Move
from rillflow.runtime.supervision.unfinished_drains import Drains
from rillflow.settings import Settings

log = logging.getLogger("rillflow.controller")

AGAIN_S: Final = 0.05
"""Between two starts of an actor whose name still leads to the one before."""
STAYS_S: Final = 2.0
"""How long an actor is left alone that did not finish its calls; doubled each time."""
LONGEST_STAYS_S: Final = 1800.0
OWNER_DRAINS_S: Final = 4.0
"""How long owners are asked to finish before they are ended anyway, which loses nothing."""


class Steps:
    """What the controller does to actors, once it has decided it and claimed them."""

    def __init__(  # noqa: PLR0913 - what it works with
        self,
        settings: Settings,
        wanted: Deployment,
        claims: Claims,
        reports: Reports,
        *,
        end: Callable[[Any], None],
        replace: Callable[[str, Any, Callable[[], Any]], Any],
    ) -> None:
        """Bring actors to what is wanted.

        ``end`` ends one. ``replace`` ends one by name and handle, and starts the next. Both block.
        """
        self._end_actor = end
        self._replace = replace
        self._settings = settings
        self._wanted = wanted
        self._claims = claims
        self._reports = reports
        self.drains = Drains(STAYS_S, LONGEST_STAYS_S)
        self.starts = Starts(reports)
        self.nodes: Callable[[], Sequence[str]] = list
        """Asks Ray for the nodes that may have actors; blocks."""

    async def carry_out(
        self, step: Start | End | Replace, seen: dict[str, ObservedActor], claim: Claim
    ) -> None:
        """Carry out a step for actors as they were seen, those that the claim still holds."""
        match step:
            case Start(names):
                await self._start_missing(names, claim)
            case End(names):
                await self._end([seen[name] for name in names], claim)
            case Replace(name):
                await self._replace_drained(seen[name], claim)

    async def _start_missing(self, names: Sequence[str], claim: Claim) -> None:
        where = places(self._settings, await asyncio.to_thread(self.nodes))
        async with self._claims.lock:
            for name in filter(claim.holds, names):
                actor = await asyncio.to_thread(self.start_actor, name, where[name])
                self.starts.begun(name, actor)

    async def _end(self, actors: list[ObservedActor], claim: Claim) -> None:
        """End actors once all have finished what they are at, or have had time enough."""
        if not await self._leave(actors):
            return
        async with self._claims.lock:
            for each in actors:
                if claim.holds(each.running.name):  # else somebody has ended it already
                    log.warning("actor_ended", extra={"actor": each.running.name})
                    self._reports.expect(each.running.name)
                    await asyncio.to_thread(self._end_actor, each.actor)

    async def _leave(self, actors: list[ObservedActor], *, is_bounded: bool = True) -> bool:
        """Have actors finish what they are at, and take nothing more.

        Returns:
            Whether they may be ended: all have finished, or had time enough if that ``is_bounded``.
        """
        asked = {
            each.running.name: each
            for each in actors
            if not each.running.is_silent and each.running.is_ready
        }
        for each in actors:
            if each.running.is_silent:
                self._reports.give_time(each.running.name)
        unfinished = await all_leave({name: each.actor for name, each in asked.items()})
        is_over = {
            name: self.drains.unfinished(
                name, waits_for, self._drain_s(asked[name].running.kind) if is_bounded else None
            )
            for name, waits_for in unfinished.items()
        }
        for name, waits_for in unfinished.items():
            event = "drain_given_up" if is_over[name] else "actor_stays"
            log.warning(event, extra={"actor": name, "waits_for": ", ".join(waits_for)})
        if not all(is_over.values()):
            return False
        for each in actors:
            self.drains.forget(each.running.name)
        return True

    def _drain_s(self, kind: Kind) -> float:
        """Return for how long an actor is asked to finish before it is ended anyway.

        A dispatcher's calls are made again by the next one. Of an owner nothing is lost.
        """
        return self._settings.drain_timeout_s if kind == DISPATCHER else OWNER_DRAINS_S

    async def _replace_drained(self, seen: ObservedActor, claim: Claim) -> None:
        name = seen.running.name
        node = await asyncio.to_thread(self._node_of, seen)
        if not await self._leave([seen]):
            return
        begun = time.monotonic()
        own = seen.execution_id
        if seen.running.kind != DEDICATED:
            start_next = partial(self.start_actor, name, node)
        elif own is not None:
            start_next = partial(spawn_dedicated, self._settings, own, self._wanted)
        else:
            return
        async with asyncio.timeout(START_S):
            if not await self.restart(claim, name, seen.actor, start_next):
                return
        seconds = round(time.monotonic() - begun, 3)
        facts = {"actor": name, "version": self._wanted.version, "seconds": seconds}
        log.warning("actor_replaced", extra=facts)

    def _node_of(self, seen: ObservedActor) -> str | None:
        return node_again(seen.node, self.nodes())

    async def move(self, move: Move, seen: ObservedActor, claim: Claim) -> bool:
        """Have an actor go on on another node, once it has finished; tell whether it does."""
        takeovers = self._claims.takeovers
        if not await self._leave([seen], is_bounded=False):
            return False
        if takeovers != self._claims.takeovers:
            return False  # It goes on where it is: the other node may be the one that has died.
        begun = time.monotonic()
        start_next = partial(self.start_actor, move.actor, move.node)
        async with asyncio.timeout(START_S):
            node = await self.restart(claim, move.actor, seen.actor, start_next)
        if not node:
            return False
        facts = {"actor": move.actor, "node": node, "seconds": round(time.monotonic() - begun, 3)}
        log.warning("actor_moved", extra=facts)
        return True

    async def restart(
        self, claim: Claim, name: str, actor: Any, start_next: Callable[[], Any]
    ) -> str:
        """End an actor and start its successor; return the node it is on.

        Returns:
            Nothing where somebody else has claimed the actor, and where the successor does not
            start; the next look sees that one is missing.
        """
        while True:
            async with self._claims.lock:
                if not claim.holds(name):
                    return ""
                self._reports.expect(name)
                started = await asyncio.to_thread(self._replace, name, actor, start_next)
            try:
                report = await started.report.remote()
            except (ray.exceptions.RayError, AttributeError) as error:
                if isinstance(error, RayActorError) and error.actor_init_failed:
                    if kind_of(name) != DEDICATED:
                        self.starts.failed(name, error)
                    return ""
                # The name may lead to the old one until Ray has heard of its end.
                actor = started
                await asyncio.sleep(AGAIN_S)
            else:
                return str(report.node)

    def start_actor(self, name: str, node: str | None) -> Any:
        """Start an actor of the wanted deployment on a node; None lets Ray choose. Blocks."""
        return start(self._settings, self._wanted, name, node)
