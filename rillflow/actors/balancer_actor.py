"""The Ray actor that gives every node of a cluster its share of the stack's actors."""

import asyncio
import logging
import os
import time
from typing import Any, Final

import ray

from rillflow.actors.placing import dispatchers, find_nodes, owners, spread, start
from rillflow.runtime.process.log_lines import write_lines
from rillflow.runtime.process.loop_watch import LoopWatch
from rillflow.runtime.routing.drain import PATIENCE_S
from rillflow.runtime.supervision.rebalancing import Move, next_move
from rillflow.settings import Settings

log = logging.getLogger("rillflow.balancer")

ANSWER_S: Final = 5.0
"""How long an actor may take to say where it is."""
START_S: Final = 30.0
"""How long an actor that was moved may take to answer."""
RETRY_S: Final = 5.0
"""Before the next look when one failed, unless looks are more frequent anyway."""
LOOKS_OFF: Final = 20
"""Looks for which an actor is left alone that had calls to wait for."""


class BalancerActor:
    """Looks from time to time where the actors are, and moves one when that is uneven.

    To move an actor is to have it finish what it is at, end it, and start it under its name
    on the other node; its callers wait or ask again as they do after a crash. When this
    actor dies in between, its next life starts what is missing. It remembers nothing else.
    """

    def __init__(self, settings: Settings) -> None:
        write_lines()
        self._watch = LoopWatch("balancer")
        self._watch.start()
        self._settings = settings
        self._known: set[str] = set()
        self._left_alone: dict[str, int] = {}
        self._moves = 0
        self._balancing = asyncio.create_task(self._balance(), name="balance")

    async def facts(self) -> dict[str, float]:
        """Return what an operator may want to see."""
        longest_ms = self._watch.state().longest_ms
        return {"pid": os.getpid(), "moves": self._moves, "longest_turn_ms": longest_ms}

    async def _balance(self) -> None:
        while True:
            pause_s = self._settings.rebalance_s
            try:
                await self._look()
            except Exception:
                # Somebody did not answer, or a move was broken off and an actor is missing.
                log.exception("not_balanced")
                pause_s = min(pause_s, RETRY_S)
            await asyncio.sleep(pause_s)

    async def _look(self) -> None:
        """Start what is missing, and make one move at most."""
        living, wanted = await asyncio.to_thread(find_nodes, self._settings)
        actors = await asyncio.to_thread(spread, self._settings, wanted)
        places = await self._places(actors)
        # What comes and goes is not worth a move: a node counts from the second look at which
        # it is wanted, and no more from the second at which it is not. One that goes, at once.
        steady = self._known.intersection(living).union(set(wanted).intersection(places.values()))
        self._known = set(wanted)
        self._left_alone = {name: n - 1 for name, n in self._left_alone.items() if n > 1}
        kinds = [
            {name: places[name] for name in names}
            for names in (owners(self._settings), dispatchers(self._settings))
        ]
        move = next_move(kinds, steady, self._left_alone)
        if move is not None:
            await self._move(move, actors[move.actor])

    async def _places(self, actors: dict[str, Any]) -> dict[str, str]:
        asked = (asyncio.wait_for(actor.socket.remote(), ANSWER_S) for actor in actors.values())
        answers = await asyncio.gather(*asked)
        return {name: node for name, (node, _) in zip(actors, answers, strict=True)}

    async def _move(self, move: Move, actor: Any) -> None:
        if not await asyncio.wait_for(actor.leave.remote(), PATIENCE_S + ANSWER_S):
            log.warning("actor_stays", extra={"actor": move.actor, "looks": LOOKS_OFF})
            self._left_alone[move.actor] = LOOKS_OFF
            return
        begun = time.monotonic()
        async with asyncio.timeout(START_S):
            node = await self._restart(move, actor)
        self._moves += 1
        facts = {"actor": move.actor, "node": node, "seconds": round(time.monotonic() - begun, 3)}
        log.warning("actor_moved", extra=facts)

    async def _restart(self, move: Move, actor: Any) -> str:
        """End an actor and start its successor; return the node it is on."""
        while True:
            moved = await asyncio.to_thread(self._replace, move, actor)
            try:
                node, _ = await moved.socket.remote()
            except ray.exceptions.RayError:
                # The name may lead to the old one until Ray has heard of its end.
                actor = moved
            else:
                return str(node)

    def _replace(self, move: Move, actor: Any) -> Any:
        # One after the other in one thread: when this process dies, it is seldom in between.
        ray.kill(actor)
        return start(self._settings, move.actor, move.node)
