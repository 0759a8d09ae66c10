"""Drains actors: each finishes its current calls before it is stopped.

Used by `actors/controller_actor.py`.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import ray

from rillflow.runtime.routing.drain import PATIENCE_S

ANSWER_S: Final = 5.0
"""How long an actor may take to answer, beside what it is asked for."""


async def all_leave(actors: Sequence[Any]) -> bool:
    """Have actors finish what callers have asked for, and take nothing more for some seconds.

    Returns:
        Whether all have. One that has died has nothing left to finish.
    """
    return all(await asyncio.gather(*map(_leaves, actors)))


async def _leaves(actor: Any) -> bool:
    try:
        return bool(await asyncio.wait_for(actor.leave.remote(), PATIENCE_S + ANSWER_S))
    except ray.exceptions.RayActorError:
        return True
    except TimeoutError:
        return False
