"""Whether a deployment on another store may end the actors of the store in use.

A refusal holds until somebody deploys again, also if this process ends meanwhile: the lease of the
store in use has it. So it does for a deployment whose own store could not be used at first. Serve
starts a replica that was refused again and again, and gives the deployment up after some tries; one
that went through after the executions have ended would leave replicas of two deployments, each on a
store of its own.

Used by `actors/controller_actor.py`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Protocol

from rillflow.errors import StoreError

_REFUSED: Final = "{} had not ended there when this was deployed"
_BEFORE: Final = "this deployment was refused before"
_UNUSABLE: Final = "it could not be used when this was deployed"
_UNKNOWN: Final = "nobody could tell whether executions had ended there when this was deployed"


class Refusals(Protocol):
    """Where the refused deployment is kept; see ``StoreLease``."""

    async def refuse(self, deployed: str) -> None:
        """Keep it."""
        ...

    async def refused(self) -> str:
        """Return it."""
        ...


class StoreChange:
    """Remembers which deployment was refused last."""

    def __init__(
        self,
        end_if_idle: Callable[[], Awaitable[int | None]],
        kept: Callable[[], Refusals | None],
    ) -> None:
        """Decide for the store of a controller.

        Args:
            end_if_idle: Ends the actors; see ``ControllerActor``.
            kept: Returns where refusals outlive this process; None while that is not known.
        """
        self._end_if_idle = end_if_idle
        self._kept = kept
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
            if deployed and deployed == await self._refused():
                self._deployed, self._refusal = deployed, _BEFORE
                return self._refusal
            self._deployed, self._refusal = deployed, _UNKNOWN
            unfinished = await self._end_if_idle()
            if unfinished == 0:
                self._deployed = self._refusal = ""
            else:
                left = "executions" if unfinished is None else f"{unfinished} executions"
                self._refusal = _REFUSED.format(left)
                await self._keep(deployed)
            return self._refusal

    async def refuse(self, deployed: str) -> None:
        """Refuse a deployment whose own store cannot be used, and all its later tries."""
        async with self._turn:
            if deployed and deployed != self._deployed:
                self._deployed, self._refusal = deployed, _UNUSABLE
                await self._keep(deployed)

    async def _refused(self) -> str:
        kept = self._kept()
        if kept is None:
            return ""
        with suppress(StoreError):
            return await kept.refused()
        return ""

    async def _keep(self, deployed: str) -> None:
        kept = self._kept()
        if kept is not None and deployed:
            # This process remembers it in any case.
            with suppress(StoreError):
                await kept.refuse(deployed)
