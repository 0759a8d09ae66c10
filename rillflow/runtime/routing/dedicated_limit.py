"""The limit of dedicated executions that run at once; each takes a process of 30 MB and more.

Used by `actors/directory.py`.
"""

from collections.abc import Awaitable, Callable, Collection
from typing import Final

from cachetools import TTLCache

from rillflow.errors import OverloadedError
from rillflow.ports.clock import Clock

START_S: Final = 30.0
"""How long an admitted actor counts before it must be listed."""


class DedicatedLimit:
    """Refuses submissions of dedicated executions while there are too many."""

    def __init__(
        self, most: int, living: Callable[[], Awaitable[Collection[str]]], clock: Clock
    ) -> None:
        """Admit up to ``most``; ``living`` returns the names of those that run or start."""
        self._most = most
        self._living = living
        self._admitted = TTLCache[str, bool](max(most, 1), START_S, timer=clock.monotonic_s)

    async def admit(self, name: str) -> None:
        """Admit a submission whose execution is to have the actor of this name.

        Raises:
            OverloadedError: The limit is reached (429).
        """
        living = await self._living()
        for each in self._admitted.keys() & living:
            del self._admitted[each]
        if name in living or name in self._admitted:
            return  # a repetition of an admitted submission
        if len(living) + len(self._admitted) >= self._most:
            raise OverloadedError(
                f"{self._most} dedicated executions are running (max_dedicated); submit it with"
                " isolation=shared, or try again later"
            )
        self._admitted[name] = True
