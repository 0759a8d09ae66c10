"""How many dedicated executions may run at once: each has a process, of 30 MB and more."""

from collections.abc import Awaitable, Callable, Collection
from typing import Final

from rillflow.errors import OverloadedError
from rillflow.ports.clock import Clock

START_S: Final = 30.0
"""For so long an actor that was admitted counts before it is listed."""


class DedicatedLimit:
    """Refuses submissions of dedicated executions while there are too many; nothing else."""

    def __init__(
        self, most: int, living: Callable[[], Awaitable[Collection[str]]], clock: Clock
    ) -> None:
        """Admit up to ``most``; ``living`` returns the names of those that run or start."""
        self._most = most
        self._living = living
        self._clock = clock
        self._admitted: dict[str, float] = {}

    async def admit(self, name: str) -> None:
        """Let a submission pass whose execution is to have the actor of this name.

        Raises:
            OverloadedError: There are as many as may be (429).
        """
        living = await self._living()
        since_s = self._clock.monotonic_s() - START_S
        self._admitted = {
            each: at_s
            for each, at_s in self._admitted.items()
            if each not in living and at_s > since_s
        }
        if name in living or name in self._admitted:
            return  # the same submission once more
        if len(living) + len(self._admitted) >= self._most:
            raise OverloadedError(
                f"{self._most} dedicated executions are running (max_dedicated); submit it with"
                " isolation=shared, or try again later"
            )
        self._admitted[name] = self._clock.monotonic_s()
