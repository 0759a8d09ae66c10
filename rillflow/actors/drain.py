"""Drains actors: each finishes its current calls before it is stopped.

Used by `actors/controller_actor.py`.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import ray

from rillflow.runtime.routing.drain import PATIENCE_S

ANSWER_S: Final = 5.0
"""How long an actor may take to answer, beside what it is asked for."""
UNKNOWN: Final = "something that it does not tell"


async def all_leave(actors: Mapping[str, Any]) -> dict[str, list[str]]:
    """Have actors finish what callers have asked for, and take nothing more for some seconds.

    Returns:
        What those that have not finished wait for, by their names. One that has died has nothing
        left to finish.
    """
    unfinished = await asyncio.gather(*map(_unfinished, actors.values()))
    return {name: left for name, left in zip(actors, unfinished, strict=True) if left}


async def _unfinished(actor: Any) -> list[str]:
    patience_s = PATIENCE_S + ANSWER_S
    try:
        if await asyncio.wait_for(actor.leave.remote(), patience_s):
            return []
        if not hasattr(actor, "unfinished"):  # of a release that does not tell
            return [UNKNOWN]
        return await asyncio.wait_for(actor.unfinished.remote(), ANSWER_S) or [UNKNOWN]
    except ray.exceptions.RayActorError:
        return []
    except TimeoutError:
        return [f"its event loop, which has not answered for {patience_s:g} s"]
