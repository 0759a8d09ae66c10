"""The limit of dedicated executions that run at once; each takes a process of its own.

Used by `actors/directory.py`.
"""

import logging
import math
from collections.abc import Awaitable, Callable, Collection
from collections.abc import Set as AbstractSet
from typing import Final

from cachetools import TTLCache

from rillflow.errors import OverloadedError, StoreError
from rillflow.gateways.limits.concurrency import SHARE
from rillflow.ids import ExecutionId, workspace_of
from rillflow.ports.clock import Clock
from rillflow.runtime.process.machine_memory import PART_OF_MEMORY

log = logging.getLogger("rillflow.admission")

PROCESS_BYTES: Final = 40 * 1000**2
"""What a process with a small dedicated execution takes: 39 MB."""
MOST: Final = 256
"""How many there may be by default, however much memory there is."""
PROCESS_CONNECTIONS: Final = 2
"""What a process takes of the connections to a database server, at most (`open_store`)."""
PART_OF_CONNECTIONS: Final = 2
"""They take one part of so many of the connections by default."""
START_S: Final = 30.0
"""How long an admitted actor counts before it must be listed."""
FRESH_S: Final = 1.0
"""How often it is looked up whose the actors are that others have admitted."""


def most_dedicated(
    wanted: int | None, memory_bytes: int | None, connections: int | None = None
) -> int:
    """Return how many there may be: as many as are wanted, or else as there is room for.

    Args:
        wanted: The setting.
        memory_bytes: The memory of this machine, None if it is not known.
        connections: What the database allows all processes, None if they need none.
    """
    if wanted is not None:
        return wanted
    most = MOST
    if memory_bytes is not None:
        most = min(most, memory_bytes // PART_OF_MEMORY // PROCESS_BYTES)
    if connections is not None:
        most = min(most, connections // PART_OF_CONNECTIONS // PROCESS_CONNECTIONS)
    return max(most, 1)


class DedicatedLimit:
    """Refuses submissions of dedicated executions while there are too many.

    A dedicated execution may run for days, so turns alone would not be fair. A workspace has at
    most eight times as many places as it leaves free: eight ninths of all, the next one eight
    ninths of the rest, and so on. Those that have many get no more until the others have as many.
    A workspace that has none may take the last place.
    """

    def __init__(
        self,
        most: Callable[[], Awaitable[int]],
        living: Callable[[], Awaitable[AbstractSet[str]]],
        unfinished: Callable[[], Awaitable[Collection[ExecutionId]]],
        *,
        name_of: Callable[[ExecutionId], str],
        clock: Clock,
    ) -> None:
        """Admit as many as ``most`` returns, which is asked until it has answered.

        ``living`` returns the names of the actors that run or start, ``unfinished`` the dedicated
        executions that the store lists, and ``name_of`` the name of the actor of one.
        """
        self._ask_most = most
        self._most: int | None = None
        self._living = living
        self._unfinished = unfinished
        self._name_of = name_of
        self._clock = clock
        self._admitted = TTLCache[str, str](math.inf, START_S, timer=clock.monotonic_s)
        self._workspaces: dict[str, str] = {}
        """The workspaces of living actors, as far as they are known; names do not tell them."""
        self._looked_s = float("-inf")

    async def admit(self, execution_id: ExecutionId) -> None:
        """Admit a submission of a dedicated execution.

        Raises:
            OverloadedError: The limit is reached, or the share of its workspace is (429).
            StoreError: The limit is that of a database that does not answer.
        """
        if self._most is None:
            self._most = await self._ask_most()
        most = self._most
        name, workspace = self._name_of(execution_id), workspace_of(execution_id)
        living = await self._living()
        known = self._workspaces
        self._workspaces = {each: known[each] for each in living & known.keys()}
        for each in self._admitted.keys() & living:
            self._workspaces[each] = self._admitted.pop(each)
        if name in living or name in self._admitted:
            return  # a repetition of an admitted submission
        used = len(living) + len(self._admitted)
        if used >= most:
            raise OverloadedError(
                f"{most} dedicated executions are running, and there is no memory, or"
                " connection to the database, for more (max_dedicated); submit it with"
                " isolation=shared, or try again later"
            )
        await self._check_share(workspace, living, used, most)
        self._admitted[name] = workspace

    async def _check_share(
        self, workspace: str, living: AbstractSet[str], used: int, most: int
    ) -> None:
        most_of_one = max(SHARE * (most - used - 1), 1)
        if used < most_of_one:
            return  # even if all of them are its own
        await self._look_up(living)
        own = [*self._workspaces.values(), *self._admitted.values()].count(workspace)
        if own >= most_of_one:
            raise OverloadedError(
                f"the workspace {workspace} has {own} of {most} places for dedicated"
                " executions (max_dedicated), and the rest is for others; submit it with"
                " isolation=shared, or try again later"
            )

    async def _look_up(self, living: AbstractSet[str]) -> None:
        """Find out whose the actors are that another process has admitted."""
        now_s = self._clock.monotonic_s()
        if len(self._workspaces) == len(living) or now_s - self._looked_s < FRESH_S:
            return
        self._looked_s = now_s
        try:
            unfinished = await self._unfinished()
        except StoreError as error:
            log.warning("admission_not_checked", extra={"reason": repr(error)})
            return
        found = {self._name_of(each): workspace_of(each) for each in unfinished}
        self._workspaces |= {each: found[each] for each in living & found.keys()}
