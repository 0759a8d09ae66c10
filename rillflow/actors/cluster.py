"""The actors of a whole deployment, as operators look at them.

Used by `actors/readiness.py` and `actors/stack.py`.
"""

import asyncio
from typing import Final

import ray

from rillflow.actors.directory import find_actor
from rillflow.actors.names import CONTROLLER_ACTOR
from rillflow.actors.placing import dispatchers, owners
from rillflow.actors.ray_context import is_controlled
from rillflow.actors.reports import Reports
from rillflow.ports.cluster import ClusterState, ControllerReport
from rillflow.ports.store import Store
from rillflow.settings import Settings

ANSWER_S: Final = 2.0
"""How long the controller may take to report."""


async def controller_report(settings: Settings) -> ControllerReport | None:
    """Return what the controller reports; None when there is none, or it does not answer."""
    controller = await find_actor(settings, CONTROLLER_ACTOR)
    if controller is None:
        return None
    try:
        report: ControllerReport = await asyncio.wait_for(controller.report.remote(), ANSWER_S)
    except (ray.exceptions.RayError, TimeoutError):
        return None
    return report


class RayCluster:
    """Asks the controller and all actors; see the ``Cluster`` port."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store

    async def state(self) -> ClusterState:
        """Return what runs; an actor that does not answer in time is told as silent.

        Raises:
            StoreError: The wanted state cannot be read.
        """
        controller, seen, wanted = await asyncio.gather(
            controller_report(self._settings),
            Reports(self._settings.namespace).take(),
            self._store.deployment(),
        )
        reports = [each.report for each in seen if each.report is not None]
        reported = {report.name for report in reports}
        expected = {*dispatchers(self._settings), *owners(self._settings)}
        silent = {each.running.name for each in seen if each.report is None}
        return ClusterState(
            wanted=wanted,
            controller=controller,
            actors=reports,
            silent=sorted((silent | expected) - reported),
            is_controlled=is_controlled(),
        )
