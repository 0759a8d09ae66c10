"""Whether a deployment on another store may end the actors of the store in use.

A refusal holds until somebody deploys again. Serve starts a replica that was refused again and
again, and gives the deployment up after some tries; one that went through after the executions have
ended would leave replicas of two deployments, each on a store of its own.

Used by `actors/controller_actor.py`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

_REFUSED: Final = "{} had not ended there when this was deployed"
_UNKNOWN: Final = "nobody could tell whether executions had ended there when this was deployed"


class StoreChange:
    """Remembers which deployment was refused last, for as long as the controller lives."""

    def __init__(self, end_if_idle: Callable[[], Awaitable[int | None]]) -> None:
        """End the actors by ``end_if_idle``; see ``ControllerActor``."""
        self._end_if_idle = end_if_idle
        self._turn = asyncio.Lock()
        self._deployed = ""
        self._refusal = ""

    async def refusal(self, deployed: str) -> str:
        """End all actors unless executions have not ended, or had not at an earlier try.

        Args:
            deployed: Tells a deployment from others, and is that of all its tries. Nothing if
                nobody knows it; then nothing is remembered.

        Returns:
            Why the actors go on as before, in words; nothing if they have ended.

        Raises:
            StoreError: The store cannot be opened, or read.
        """
        # Replicas that start at once would otherwise be answered differently.
        async with self._turn:
            if deployed and deployed == self._deployed:
                return self._refusal
            self._deployed, self._refusal = deployed, _UNKNOWN
            unfinished = await self._end_if_idle()
            if unfinished == 0:
                self._deployed = self._refusal = ""
            else:
                left = "executions" if unfinished is None else f"{unfinished} executions"
                self._refusal = _REFUSED.format(left)
            return self._refusal
