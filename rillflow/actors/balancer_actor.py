"""The balancer: the Ray actor that moves the other actors, so that every node has its share."""

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
"""Time limit for an actor to report its node."""
START_S: Final = 30.0
"""Time limit for a moved actor to answer."""
RETRY_S: Final = 5.0
"""Pause after a failed check, unless the interval is shorter."""
LOOKS_OFF: Final = 20
"""How many checks an actor is left alone that could not finish its calls."""


class BalancerActor:
    """Checks at intervals where the actors are, and moves one if they are unevenly spread.

    To move an actor, the balancer has it finish its calls, ends it, and starts it under the same
    name on the other node; callers wait or retry as after a crash. If the balancer dies in between,
    it starts the missing actor after its restart. It keeps no other state.
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
                # An actor did not answer, or is missing because a move was interrupted.
                log.exception("not_balanced")
                pause_s = min(pause_s, RETRY_S)
            await asyncio.sleep(pause_s)

    async def _look(self) -> None:
        """Start missing actors, and make one move at most."""
        living, wanted = await asyncio.to_thread(find_nodes, self._settings)
        actors = await asyncio.to_thread(spread, self._settings, wanted)
        places = await self._places(actors)
        # Short changes are not worth a move: a node counts from the second check at which it is
        # wanted, and is dropped at the second check at which it is not. A node that is leaving is
        # dropped at once.
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
                # The name may still refer to the old actor, until Ray has noticed its end.
                actor = moved
            else:
                return str(node)

    def _replace(self, move: Move, actor: Any) -> Any:
        # In order and in one thread: the process seldom dies in between.
        ray.kill(actor)
        return start(self._settings, move.actor, move.node)
