"""Starts actors in the place of those that have stopped, on other nodes if there are any.

Used by `actors/controller_actor.py`.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from rillflow.actors.monitoring.reports import Reports
from rillflow.actors.placing import other_places
from rillflow.actors.takeover.actor_watch import StillStopped, Stopped
from rillflow.actors.takeover.claims import Claim, Claims

log = logging.getLogger("rillflow.controller")

START_S: Final = 30.0
"""How long an actor that takes over, or that was moved, may take to answer."""
StartProcesses = Callable[[Mapping[str, int], float], Awaitable[object]]
"""Has so many processes wait on nodes, by their ids, which may take so many seconds to start."""


class Takeovers:
    """Takes over from several actors of one node together."""

    def __init__(
        self,
        claims: Claims,
        reports: Reports,
        restart: Callable[[Claim, str, Any, Callable[[], Any]], Awaitable[str]],
        start: Callable[[str, str | None], Any],
        end: Callable[[Any], None],
    ) -> None:
        """Replace actors by what the controller has for that.

        Args:
            claims: Of the actors that are replaced.
            reports: Learns of actors that have stopped.
            restart: Ends an actor by name and handle, starts another one, and returns its node.
            start: Starts an actor of a name on a node; blocks.
            end: Ends an actor; blocks.
        """
        self._claims = claims
        self._reports = reports
        self._restart = restart
        self._start = start
        self._end = end
        self.nodes: Callable[[], Sequence[str]] = list
        """Asks Ray for the nodes that may have actors; blocks."""

    async def take_over(self, stopped: Sequence[Stopped], still_stopped: StillStopped) -> None:
        """End actors that have stopped, and start others of their names.

        Those that are to end anyway are not started: who ends them does not wait for them then.

        Raises:
            StoreError: Nobody knows whether they have gone on meanwhile.
        """
        claims = self._claims
        async with claims.lock:
            stopped = await still_stopped(stopped)  # others may have had their turn before
            if not stopped:
                return
            claims.takeovers += 1
            claim = claims.claim([each.name for each in stopped])
            nodes = await asyncio.to_thread(self.nodes)
            ending = [each for each in stopped if claims.only_ends(each.name)]
            for each in ending:
                await self._end_only(each)
        replaced = [each for each in stopped if each not in ending]
        where = other_places({each.name: each.node for each in replaced}, nodes)
        await asyncio.gather(*(self._replace(claim, each, where[each.name]) for each in replaced))

    async def prepare(self, start: StartProcesses, silent: Sequence[Stopped]) -> None:
        """Have a process ``start`` for the next one of each actor that has probably stopped.

        On the only node none is started: Ray asks all processes there first, also the silent one.
        """
        nodes = await asyncio.to_thread(self.nodes)
        where = other_places({each.name: each.node for each in silent}, nodes)
        await start(Counter(filter(None, where.values())), START_S)

    async def _end_only(self, each: Stopped) -> None:
        self._reports.note_restart(each.name)
        self._reports.expect(each.name)
        await asyncio.to_thread(self._end, each.actor)
        log.warning("stopped_actor_ended", extra={"actor": each.name, "before": each.node})

    async def _replace(self, claim: Claim, each: Stopped, node: str | None) -> None:
        begun_s = time.monotonic()
        self._reports.note_restart(each.name)
        facts = {"actor": each.name, "before": each.node}
        try:
            async with asyncio.timeout(START_S):
                place = await self._restart(
                    claim, each.name, each.actor, lambda: self._start(each.name, node)
                )
        except TimeoutError:
            log.error("actor_not_taken_over", extra=facts)  # noqa: TRY400 - nothing was raised
            return
        except Exception:
            log.exception("actor_not_taken_over", extra=facts)
            return
        if not place:
            return
        seconds = round(time.monotonic() - begun_s, 3)
        log.warning("actor_taken_over", extra={**facts, "node": place, "seconds": seconds})
