"""Starts actors in the place of those that have stopped, on other nodes if there are any.

Used by `actors/controller_actor.py`.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from rillflow.actors.monitoring.reports import Reports
from rillflow.actors.placing import other_places
from rillflow.actors.takeover.actor_watch import StillStopped, Stopped

log = logging.getLogger("rillflow.controller")

START_S: Final = 30.0
"""How long an actor that takes over, or that was moved, may take to answer."""


class Takeovers:
    """Takes over from several actors of one node together, and counts how often it has."""

    def __init__(
        self,
        looking: asyncio.Lock,
        reports: Reports,
        restart: Callable[[str, Any, Callable[[], Any]], Awaitable[str]],
        start: Callable[[str, str | None], Any],
    ) -> None:
        """Replace actors by what the controller has for that.

        Args:
            looking: Held while actors are replaced.
            reports: Learns of actors that have stopped.
            restart: Ends an actor by name and handle, starts another one, and returns its node.
            start: Starts an actor of a name on a node; blocks.
        """
        self._looking = looking
        self._reports = reports
        self._restart = restart
        self._start = start
        self.nodes: Callable[[], Sequence[str]] = list
        """Asks Ray for the nodes that may have actors; blocks."""
        self.count = 0

    async def take_over(self, stopped: Sequence[Stopped], still_stopped: StillStopped) -> None:
        """End actors that have stopped, and start others of their names.

        Raises:
            StoreError: Nobody knows whether they have gone on meanwhile.
        """
        async with self._looking:
            stopped = await still_stopped(stopped)  # other steps may have taken a minute
            if not stopped:
                return
            self.count += 1
            nodes = await asyncio.to_thread(self.nodes)
            where = other_places({each.name: each.node for each in stopped}, nodes)
            await asyncio.gather(*(self._replace(each, where[each.name]) for each in stopped))

    async def _replace(self, each: Stopped, node: str | None) -> None:
        begun_s = time.monotonic()
        self._reports.note_restart(each.name)
        self._reports.expect(each.name)
        facts = {"actor": each.name, "before": each.node}
        try:
            async with asyncio.timeout(START_S):
                place = await self._restart(
                    each.name, each.actor, lambda: self._start(each.name, node)
                )
        except TimeoutError:
            log.error("actor_not_taken_over", extra=facts)  # noqa: TRY400 - nothing was raised
            return
        except Exception:
            # The lock is held until all others are replaced, too.
            log.exception("actor_not_taken_over", extra=facts)
            return
        seconds = round(time.monotonic() - begun_s, 3)
        log.warning("actor_taken_over", extra={**facts, "node": place, "seconds": seconds})
