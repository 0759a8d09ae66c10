"""Drains actors: each finishes its current calls before it is replaced, or all are ended.

Used by `actors/controller_actor.py`.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

import ray

from rillflow.actors.directory import find_actor, names_of_actors
from rillflow.actors.monitoring.reports import Reports
from rillflow.ray_tasks.targets import OWN_NAMES
from rillflow.runtime.endpoints.drain import PATIENCE_S
from rillflow.runtime.supervision.convergence import DEDICATED, DISPATCHER, EXECUTION
from rillflow.runtime.supervision.store_lease import StoreLease
from rillflow.settings import Settings

log = logging.getLogger("rillflow.controller")

ANSWER_S: Final = 5.0
"""How long an actor may take to answer, beside what it is asked for."""
LAST_DRAINS: Final = 3
"""How often actors are asked to finish before they are ended for good."""
STOPPED_S: Final = 0.5
"""After a controller has told that everything has ended, until it ends itself."""
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


async def end_all(reports: Reports, *, drains: int = LAST_DRAINS) -> list[str]:
    """End dispatchers and owners, each after it was asked so often to finish.

    Returns:
        What was not finished then, in words; it goes on where the store is used next.
    """
    seen = await reports.take()
    unfinished: dict[str, list[str]] = {}
    for kinds in ((DISPATCHER,), (EXECUTION, DEDICATED)):
        leaving = {
            each.running.name: each.actor
            for each in seen
            if each.running.kind in kinds and not each.running.is_silent
        }
        left: dict[str, list[str]] = {}
        for _ in range(drains):
            left = await all_leave(leaving)
            if not left:
                break
        unfinished |= left
    for each in seen:
        log.warning("actor_ended", extra={"actor": each.running.name})
        reports.expect(each.running.name)
        await asyncio.to_thread(ray.kill, each.actor)
    return [f"{name} waits for {', '.join(each)}" for name, each in unfinished.items()]


async def end_for_good(
    settings: Settings, reports: Reports, lease: StoreLease | None, *, drains: bool
) -> list[str]:
    """End everything that runs in the namespace of a deployment, and soon this controller.

    Returns:
        What was not finished, in words.
    """
    try:
        left = await end_all(reports, drains=LAST_DRAINS if drains else 0)
        itself = ray.get_runtime_context().get_actor_name()
        for name in await asyncio.to_thread(names_of_actors, settings.namespace):
            # Detached calls of Ray functions; the next deployment makes them again.
            if name.startswith(OWN_NAMES) and name != itself:
                actor = await find_actor(settings, name)
                if actor is not None:
                    await asyncio.to_thread(ray.kill, actor)
        if lease is not None:
            await lease.give_up()
        return left
    finally:
        _leave_soon()


def _leave_soon() -> None:
    """End this actor for good after a pause, in which what it has answered is sent."""
    own = ray.get_runtime_context().current_actor
    asyncio.get_running_loop().call_later(STOPPED_S, lambda: ray.kill(own, no_restart=True))
