"""Starting the homes of dedicated executions: at the start, and those that have been lost."""

import asyncio
import logging
from collections.abc import Collection, Sequence
from typing import Final, Protocol

from rillflow.ids import ExecutionId
from rillflow.ports.store import Journal
from rillflow.runtime.insisting import insist
from rillflow.runtime.ownership import DEDICATED_LISTING

log = logging.getLogger("rillflow.respawning")

PAUSE_S: Final = 1.0
SPAWNED_AT_ONCE: Final = 4
LONGEST_SPAWN_S: Final = 60.0
LOOK_S: Final = 15.0


class Spawner(Protocol):
    """Whoever can start homes of dedicated executions."""

    async def spawn(self, execution_id: ExecutionId) -> None:
        """Start a home, unless there is one; return once it takes calls."""
        ...

    async def living(self) -> Collection[str]:
        """Return the names of the homes that there are, be it that they are starting."""
        ...


class Respawning:
    """Has every dedicated execution of some partitions that is not over find a home.

    A home comes back after a crash and leaves when all is done, by itself. It is lost when
    somebody removes it, or when it wrote after a newer one had found everything done: it had
    stood still meanwhile, and was taken for dead (ARCHITECTURE, decision 90).
    """

    def __init__(self, journal: Journal, partitions: Sequence[int], spawner: Spawner) -> None:
        self._journal = journal
        self._listings = [DEDICATED_LISTING + partition for partition in partitions]
        self._spawner = spawner
        self._slots = asyncio.Semaphore(SPAWNED_AT_ONCE)
        self._misses: dict[ExecutionId, int] = {}

    async def run(self) -> None:
        """Start homes where there are none, now and whenever one is lost, until cancelled."""
        while True:
            all_there = await self._look()
            await asyncio.sleep(LOOK_S if all_there else PAUSE_S)

    async def _look(self) -> bool:
        """Start what is lost, a few at once; tell whether it was all possible."""
        try:
            done = await asyncio.gather(*map(self._is_spawned, await self._lost()))
        except Exception:
            log.exception("homes_not_looked_for")
            return False
        return all(done)

    async def _lost(self) -> list[ExecutionId]:
        """Return those whose home is to be started: at the first, second, fourth ... miss.

        Some leave again and again, since their execution cannot be read.
        """
        unfinished = await insist(lambda: self._journal.unfinished(self._listings))
        living = await self._spawner.living() if unfinished else ()
        lost = [each for each in unfinished if each not in living]
        self._misses = {each: self._misses.get(each, 0) for each in unfinished}
        for execution_id in lost:
            self._misses[execution_id] += 1
        return [each for each in lost if self._misses[each].bit_count() == 1]

    async def _is_spawned(self, execution_id: ExecutionId) -> bool:
        try:
            async with self._slots, asyncio.timeout(LONGEST_SPAWN_S):
                await self._spawner.spawn(execution_id)
        except Exception:
            log.exception("respawn_failed", extra={"execution_id": execution_id})
            del self._misses[execution_id]  # So that the next look is the first one.
            return False
        log.info("home_started", extra={"execution_id": execution_id})
        return True
