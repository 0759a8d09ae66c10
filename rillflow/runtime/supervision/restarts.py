"""Starts the actors of dedicated executions that have none, at the start and after losses.

Used by `runtime/owner/execution_owner.py`.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Final, Protocol

from rillflow.ids import DEDICATED_LISTING, ExecutionId, workspace_of
from rillflow.ports.storage.store import Journal
from rillflow.runtime.aio.retrying import retry_while_unavailable

log = logging.getLogger("rillflow.restarts")

SPAWNED_AT_ONCE: Final = 4
LONGEST_SPAWN_S: Final = 60.0
LOOK_S: Final = 10.0


class Spawner(Protocol):
    """Starts actors of dedicated executions."""

    async def spawn(self, execution_id: ExecutionId) -> None:
        """Start an actor, unless there is one; return once it accepts calls."""
        ...

    async def without_actor(self, execution_ids: Sequence[ExecutionId]) -> list[ExecutionId]:
        """Return those that have no actor, not even one that is starting."""
        ...


class Restarts:
    """Starts a missing actor for every dedicated execution of some partitions that has not ended.

    Ray restarts an actor after a crash, and the actor leaves by itself when its execution is done.
    It is lost when somebody removes it, or when it hung, was taken for dead, and wrote after a
    newer one had found everything done. See docs/decisions/ownership/dedicated-executions.md.
    """

    def __init__(self, journal: Journal, partitions: Sequence[int], spawner: Spawner) -> None:
        self._journal = journal
        self._listings = [DEDICATED_LISTING + partition for partition in partitions]
        self._spawner = spawner
        self._slots = asyncio.Semaphore(SPAWNED_AT_ONCE)
        self._starts: dict[ExecutionId, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Start the actors that are missing, now and whenever one is lost, until cancelled."""
        try:
            while True:
                await self._look()
                await asyncio.sleep(LOOK_S)
        finally:
            for start in self._starts.values():
                start.cancel()

    async def _look(self) -> None:
        """Begin to start lost actors; the next check finds those that cannot be started."""
        try:
            for execution_id in await self._lost():
                start = asyncio.create_task(self._start(execution_id))
                self._starts[execution_id] = start
                start.add_done_callback(partial(self._starts.pop, execution_id))
        except Exception:
            log.exception("dedicated_actors_not_looked_for")

    async def _lost(self) -> list[ExecutionId]:
        unfinished = await retry_while_unavailable(lambda: self._journal.unfinished(self._listings))
        lost = await self._spawner.without_actor(unfinished) if unfinished else ()
        return _in_rotation([each for each in lost if each not in self._starts])

    async def _start(self, execution_id: ExecutionId) -> None:
        try:
            async with self._slots, asyncio.timeout(LONGEST_SPAWN_S):
                await self._spawner.spawn(execution_id)
        except Exception:
            log.exception("respawn_failed", extra={"execution_id": execution_id})
        else:
            log.info("dedicated_actor_started", extra={"execution_id": execution_id})


def _in_rotation(execution_ids: Sequence[ExecutionId]) -> list[ExecutionId]:
    """Return the first of each workspace, then the second of each, and so on."""
    numbers = Counter[str]()

    def place(execution_id: ExecutionId) -> int:
        workspace = workspace_of(execution_id)
        numbers[workspace] += 1
        return numbers[workspace]

    return sorted(execution_ids, key=place)
