"""The Ray actor that reconciles the running actors with the wanted deployment, on all nodes.

It compares what is wanted with what runs (``rillflow/runtime/supervision/convergence.py``), does
one step, and compares again. It keeps no state of its own that the next round does not read again,
so a restarted controller continues.

Used by `actors/deployment.py`.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import ray

from rillflow.actors.lifecycle.drain import LAST_DRAINS, all_leave, end_all, end_for_good
from rillflow.actors.lifecycle.launch import sqlite_on_many_nodes
from rillflow.actors.lifecycle.steps import Steps
from rillflow.actors.lifecycle.store_change import StoreChange
from rillflow.actors.monitoring.callback_address import CallbackAddress
from rillflow.actors.monitoring.reports import ObservedActor, Reports
from rillflow.actors.names import EARLIER_CONTROLLER, sent_by_value
from rillflow.actors.placing import (
    Rebalancing,
    dispatchers,
    owners,
    wanted_nodes,
)
from rillflow.actors.ray_context import holder_of
from rillflow.actors.spare_workers import SpareWorkers, next_nodes, wanted_spares
from rillflow.actors.takeover.actor_watch import ActorWatch
from rillflow.actors.takeover.claims import Claims
from rillflow.actors.takeover.takeovers import Takeovers
from rillflow.core.status import DAG_COMPLETED, DagStatus
from rillflow.errors import StoreError
from rillflow.ids import DEDICATED_LISTINGS
from rillflow.ports.cluster import ControllerReport
from rillflow.ports.deployment import Deployment
from rillflow.ports.readiness import Reason
from rillflow.ports.storage.lease import Lease
from rillflow.ports.storage.store import ExecutionFilter
from rillflow.runtime.process.environment_findings import lacking
from rillflow.runtime.process.log_lines import write_lines
from rillflow.runtime.process.loop_watch import LoopWatch
from rillflow.runtime.supervision.convergence import (
    DEDICATED,
    DISPATCHER,
    EXECUTION,
    End,
    Kind,
    Replace,
    Start,
    Wait,
    next_step,
    sentence_of,
)
from rillflow.runtime.supervision.store_lease import RENEW_S, StoreLease, lost_to
from rillflow.runtime.supervision.store_start import open_when_possible
from rillflow.settings import Settings
from rillflow.stores import open_store

log = logging.getLogger("rillflow.controller")

LOOK_S: Final = 5.0
"""Between looks while everything is as wanted; rebalancing has a setting of its own."""
WORK_S: Final = 0.2
"""Between looks while something is to do."""
OPENED_S: Final = 5.0
"""How long a deployment on another store waits until the store in use can be opened."""
RESUME_S: Final = 20.0
"""After all actors were to end for another store, until this goes on if nobody replaces it."""
CAUSE_CHARACTERS: Final = 500
ENDED: Final = frozenset(status.name.lower() for status in DagStatus if DAG_COMPLETED[status])
"""Statuses, as the store has them, of executions that need no actor any more."""
ANSWERS_NOT: Final = "not_converged"


class ControllerActor:
    """Holds the wanted state of a deployment, and carries it out."""

    def __init__(self, settings: Settings, wanted: Deployment) -> None:
        write_lines(settings.log_format, "controller")
        self._watch = LoopWatch("controller")
        self._watch.start()
        self._settings, self._wanted = settings, wanted
        self._store = open_store(settings.store_url, large_value_bytes=settings.large_value_bytes)
        # A dedicated actor that was stopped before it has reported is known by its name only.
        unfinished = partial(self._store.unfinished, DEDICATED_LISTINGS)
        self._reports = Reports(settings.namespace, unfinished)
        self._callback_address = CallbackAddress(settings.namespace)
        self._names: list[tuple[str, Kind]] = [
            *((name, DISPATCHER) for name in dispatchers(settings)),
            *((name, EXECUTION) for name in owners(settings)),
        ]
        self._balancing = Rebalancing(settings)
        self._spare = SpareWorkers()
        self._claims = Claims()
        self._actor_steps = Steps(
            settings, wanted, self._claims, self._reports, end=ray.kill, replace=self._replace
        )
        self._takeovers = Takeovers(
            self._claims,
            self._reports,
            self._actor_steps.restart,
            self._actor_steps.start_actor,
            ray.kill,
        )
        self._actor_watch = ActorWatch(
            settings.namespace,
            self._names,
            self._store,
            self._takeovers.take_over,
            partial(self._takeovers.prepare, self._spare.start),
        )
        self._wanted_nodes = self._takeovers.nodes = self._actor_steps.nodes = partial(
            wanted_nodes, settings, self._actor_watch.unreachable
        )
        self._watching: asyncio.Task[None] | None = None
        self._ends = end_for_good
        self._store_change = StoreChange(self.end_if_idle, lambda: self._lease)
        self._steps = self._moves = 0
        self._reason: str | None = "the controller has not looked yet"
        self._cause = ""
        self._warnings = [each.sentence for each in lacking(os.environ)]
        self._lease: StoreLease | None = None
        self._held: Lease | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._started = asyncio.create_task(self._start(), name="start")
        self._running = asyncio.create_task(self._run(), name="converge")

    async def deployment(self) -> Deployment:
        """Return what is wanted by this controller."""
        return self._wanted

    async def report(self) -> ControllerReport:
        """Return what operators, and replicas, want to know."""
        reasons = [] if self._reason is None else [Reason(ANSWERS_NOT, self._reason)]
        return ControllerReport(
            node=ray.get_runtime_context().get_node_id(),
            pid=os.getpid(),
            wanted=self._wanted,
            reasons=[*reasons, *self._reports.alarms()],
            causes=[self._cause] if self._cause else [],
            warnings=self._warnings,
            steps=self._steps,
            restarts=self._reports.restarts(),
            fencings=self._reports.fencings(),
        )

    async def facts(self) -> dict[str, float]:
        """Return what an operator may want to see."""
        longest_ms = self._watch.state().longest_ms
        return {"pid": os.getpid(), "moves": self._moves, "longest_turn_ms": longest_ms}

    async def fenced(self, name: str) -> None:
        """Hear of an actor that ends because another owner has taken its partitions."""
        self._reports.note_fencing(name)

    async def sees(self, mark: str) -> bool:
        """Tell whether a replica has left this mark in the store of this controller.

        Raises:
            StoreError: The store cannot be read.
        """
        lease = await self._store.lease()
        return lease is not None and lease.mark == mark

    async def end_if_idle(self) -> int | None:
        """End all actors if no execution of the store is unfinished; the store is to change.

        Returns:
            How many are unfinished, None if the owners do not finish what they are at. If it is
            not 0, everything goes on as before.

        Raises:
            StoreError: The store cannot be opened, or read.
        """
        try:
            await asyncio.wait_for(asyncio.shield(self._started), OPENED_S)
        except TimeoutError:
            raise StoreError(
                "the store of the actors that run cannot be opened, so nobody knows whether it has"
                f" unfinished executions: {self._cause or 'it does not answer'}"
            ) from None
        if unfinished := await self._unfinished():
            return unfinished
        self._running.cancel()
        # Whoever asks replaces this controller, or does not live to do so.
        self._running = asyncio.create_task(self._run(after_s=RESUME_S), name="converge")
        seen = await self._reports.take()
        owning = [each for each in seen if each.running.kind != DISPATCHER]
        if await all_leave({each.running.name: each.actor for each in owning}):
            return None
        unfinished = await self._unfinished()
        if not unfinished:
            for each in seen:
                await asyncio.to_thread(ray.kill, each.actor)
        return unfinished

    @sent_by_value
    async def leave_store(self, deployed: str) -> str:
        """End all actors as ``end_if_idle``, unless this deployment was refused before.

        Args:
            deployed: Tells a deployment from others, and is that of all its tries; or nothing.

        Returns:
            Why everything goes on as before, in words; nothing if the actors have ended.

        Raises:
            StoreError: The store cannot be opened, or read.
        """
        return await self._store_change.refusal(deployed)

    @sent_by_value
    async def refuse_store(self, deployed: str) -> None:
        """Hear of a deployment whose store cannot be used: none of its tries may end the actors."""
        await self._store_change.refuse(deployed)

    @sent_by_value
    async def stop(self, *, drains: bool) -> list[str]:
        """End everything that this deployment has started, this actor last, and free the store.

        Args:
            drains: Whether actors finish what they are at; each has some seconds for that.

        Returns:
            What they have not finished, in words; the next deployment on this store goes on.
        """
        async with self._claims.lock:
            self._claims.close()
            for task in (self._running, self._renewing, self._watching):
                if task is not None:
                    task.cancel()
            self._say("the deployment is being stopped")
            await self._spare.end()
            return await self._ends(self._settings, self._reports, self._lease, drains=drains)

    async def _unfinished(self) -> int:
        counts = await self._store.count_executions(ExecutionFilter())
        return sum(count for status, count in counts.items() if status not in ENDED)

    async def _start(self) -> None:
        try:
            await open_when_possible(self._store.open, self._say)
            holder = await asyncio.to_thread(holder_of, self._settings)
            self._lease = StoreLease(self._store, holder)
            await self._renew(self._lease)
            self._renewing = asyncio.create_task(self._keep_lease(self._lease), name="lease")
            self._watching = asyncio.create_task(self._actor_watch.run(), name="takeover")
        except Exception:
            # A defect; Ray restarts this actor.
            log.exception("start_failed")
            await asyncio.sleep(LOOK_S)
            os._exit(1)

    async def _keep_lease(self, lease: StoreLease) -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            await self._renew(lease)

    async def _renew(self, lease: StoreLease) -> None:
        try:
            self._held = await lease.renew()
        except StoreError as error:
            log.warning("lease_not_renewed", extra={"reason": str(error)})

    async def _run(self, after_s: float = 0.0) -> None:
        await asyncio.shield(self._started)
        await asyncio.sleep(after_s)
        await asyncio.to_thread(self._end_earlier_controller)
        while True:
            try:
                pause_s = await self._look()
            except Exception:
                # Somebody did not answer, or a step was broken off and an actor is missing.
                log.exception("look_failed")
                self._say("the last look at the actors failed; the log of the controller says why")
                pause_s = LOOK_S
            await asyncio.sleep(pause_s)

    def _end_earlier_controller(self) -> None:
        try:
            ray.kill(ray.get_actor(EARLIER_CONTROLLER, namespace=self._settings.namespace))
        except ValueError:
            return
        log.warning("earlier_controller_ended")

    async def _look(self) -> float:
        """Do what is to do next; return how long to wait before the next look."""
        lease, held = self._lease, self._held
        if lease is not None and held is not None and (held.successor or not lease.holds(held)):
            async with self._claims.lock:
                await self._leave_the_store(lease)
            return RENEW_S
        stored = await self._store.deployment()
        if stored is not None and stored.version > self._wanted.version:
            self._say("a later deployment is about to take over")
            return WORK_S
        takeovers = self._claims.takeovers
        # Who does not answer takes seconds, in which others may have to take over from it.
        seen = await self._reports.take()
        self._callback_address.look(seen, owners(self._settings))
        await self._actor_steps.starts.check(seen)
        async with self._claims.lock:
            if takeovers != self._claims.takeovers:
                return WORK_S  # What was seen is out of date.
            step = next_step(
                self._wanted,
                self._names,
                [each.running for each in seen],
                stays=self._actor_steps.drains.left_alone(),
                given_up=self._reports.given_up(),
                failing=self._actor_steps.starts.failing(),
            )
            self._claims.note_ending(step.names if isinstance(step, End) else ())
        if step is None:
            # Actors stay on the machine of the file; a replica on another one does not start.
            self._say(await asyncio.to_thread(sqlite_on_many_nodes, self._settings) or None)
        else:
            running = [each.running for each in seen]
            self._say(sentence_of(step, self._wanted, running), self._causes(seen))
        if step is None or (isinstance(step, Wait) and step.may_last):
            await self._balance(seen)
            return self._until_next_look_s()
        if not isinstance(step, Wait):
            await self._carry_out(step, seen, takeovers)
        return WORK_S

    async def _carry_out(
        self, step: Start | End | Replace, seen: list[ObservedActor], takeovers: int
    ) -> None:
        """Do a step, unless others have taken over since actors were seen."""
        by_name = {each.running.name: each for each in seen}
        nodes = await asyncio.to_thread(self._wanted_nodes)
        # Not while others wait for their turn: they may have to take over.
        await self._spare.prepare(
            next_nodes(self._settings, step, by_name, nodes), self._settings.store_url
        )
        async with self._claims.lock:
            if takeovers != self._claims.takeovers:
                return
            self._steps += 1
            claim = self._claims.claim([step.name] if isinstance(step, Replace) else step.names)
        await self._actor_steps.carry_out(step, by_name, claim)

    def _causes(self, seen: list[ObservedActor]) -> str:
        others = {each.running.name for each in seen if each.running.deployment != self._wanted}
        return "; ".join(
            [*self._actor_steps.starts.causes(), *self._actor_steps.drains.causes(others)]
        )

    def _until_next_look_s(self) -> float:
        pause_s = min(self._settings.rebalance_s or LOOK_S, LOOK_S)
        next_s = self._actor_steps.drains.next_s()
        return pause_s if next_s is None else min(pause_s, max(next_s, WORK_S))

    async def _leave_the_store(self, lease: StoreLease) -> None:
        """End all actors, since another deployment holds the store, or has asked for it."""
        held = self._held = await lease.renew()
        holds = lease.holds(held)
        if holds and not held.successor:
            return  # A replica has just acquired it.
        if holds:
            self._say("the store is being handed over to another deployment", held.successor)
        await end_all(self._reports, drains=LAST_DRAINS if holds else 0)
        if holds:
            await lease.give_up()
            held = self._held = await lease.renew()
        self._say("another deployment holds the store", lost_to(held))

    def _say(self, reason: str | None, cause: str = "") -> None:
        """Tell everybody what keeps the actors from being as wanted, and operators the cause."""
        cause = " ".join(cause.split())[:CAUSE_CHARACTERS]
        if (reason, cause) != (self._reason, self._cause):
            facts = {"version": self._wanted.version, "reason": reason or "everything is as wanted"}
            if cause:
                facts["cause"] = cause
            log.warning("converging" if reason else "converged", extra=facts)
        self._reason, self._cause = reason, cause

    async def _balance(self, seen: list[ObservedActor]) -> None:
        """Make one move at most, every ``rebalance_s``, so that every node has its share."""
        takeovers = self._claims.takeovers
        nodes = await asyncio.to_thread(self._wanted_nodes)
        shared = [each.node for each in seen if each.running.kind != DEDICATED and each.node]
        self._spare.keep(wanted_spares(shared, nodes))
        gone = self._actor_watch.unreachable()
        move = await self._balancing.next_move(seen, self._actor_steps.drains.left_alone(), gone)
        if move is not None:
            actors = {each.running.name: each for each in seen}
            if not await self._spare.prepare([move.node], self._settings.store_url):
                return  # Ray may take a node for alive that is not.
            async with self._claims.lock:
                if takeovers != self._claims.takeovers:
                    return
                claim = self._claims.claim([move.actor])
            self._moves += await self._actor_steps.move(move, actors[move.actor], claim)

    def _replace(self, name: str, actor: Any, start_next: Callable[[], Any]) -> Any:
        # One after the other in one thread: when this process dies, it is seldom in between.
        del name
        ray.kill(actor)
        return start_next()


def _kept(name: str) -> Callable[..., None]:
    def method(self: ControllerActor, *_: object) -> None:
        """Do nothing: only the name is needed, see ``sent_by_value``."""

    method.__name__, method.__qualname__ = name, f"{ControllerActor.__name__}.{name}"
    return method


# Handles of the release before name these methods, and a process that lacks one cannot load them.
for _name in (
    "_drain_s",
    "_end",
    "_leave",
    "_move",
    "_node_of",
    "_replace_drained",
    "_restart",
    "_start_actor",
):
    setattr(ControllerActor, _name, _kept(_name))
