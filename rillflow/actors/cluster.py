"""The actors of a whole deployment, as operators look at them.

Used by `actors/readiness.py` and `actors/stack.py`.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import ray

from rillflow.actors.directory import find_actor
from rillflow.actors.monitoring.reports import Reports
from rillflow.actors.names import (
    CONTROLLER_ACTOR,
    dedicated_actor_name,
    execution_actor_name,
    owner_index,
    partitions_of,
)
from rillflow.actors.placing import dispatchers, owners
from rillflow.actors.ray_context import is_controlled
from rillflow.core.status import UNFINISHED
from rillflow.ids import ExecutionId, is_dedicated
from rillflow.ports.cluster import ClusterState, ControllerReport
from rillflow.ports.deployment import Deployment
from rillflow.ports.storage.store import ExecutionFilter, Store
from rillflow.settings import Settings

MOST_COUNTED: Final = 20_000
"""More unfinished executions are not counted by actor, for which the store reads each row."""
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

    async def state(self, executions: Sequence[ExecutionId] = ()) -> ClusterState:
        """Return what runs; an actor that does not answer in time is told as silent.

        Raises:
            StoreError: The store cannot be read.
        """
        controller, seen, wanted, addresses, counts = await asyncio.gather(
            controller_report(self._settings),
            Reports(self._settings.namespace).take(),
            self._store.deployment(),
            asyncio.to_thread(_addresses),
            self._store.count_executions(ExecutionFilter(statuses=UNFINISHED)),
        )
        unfinished = sum(counts.values())
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
            descriptions={
                each.running.name: each.description for each in seen if each.description is not None
            },
            addresses=addresses,
            holders={
                each: _holder(each, owners_of(wanted, self._settings), reported)
                for each in executions
            },
            unfinished=unfinished,
            stored=await self._stored(unfinished, owners_of(wanted, self._settings)),
        )

    async def _stored(self, unfinished: int, owners: int) -> dict[str, int]:
        if unfinished > MOST_COUNTED:
            return {}
        counts = await self._store.count_partitions(ExecutionFilter(statuses=UNFINISHED))
        return stored_by_owner(counts, owners)


def owners_of(wanted: Deployment | None, settings: Settings) -> int:
    """Return how many execution actors share the partitions."""
    return settings.execution_actors if wanted is None else wanted.execution_actors


def stored_by_owner(counts: Mapping[int, int], owners: int) -> dict[str, int]:
    """Return how many executions each execution actor has, of the counts of partitions."""
    return {
        execution_actor_name(index): sum(
            counts.get(each, 0) for each in partitions_of(index, owners)
        )
        for index in range(owners)
    }


def _holder(execution_id: ExecutionId, owners: int, actors: Collection[str]) -> str:
    """Return the actor of an execution: its own while that is there, or that of its partition."""
    if is_dedicated(execution_id) and (own := dedicated_actor_name(execution_id)) in actors:
        return own
    return execution_actor_name(owner_index(execution_id, owners))


def _addresses() -> dict[str, str]:
    """Return the address and the host name of each node; asks Ray's GCS."""
    return {
        node["NodeID"]: f"{node['NodeManagerAddress']} ({node['NodeManagerHostname']})"
        for node in ray.nodes()
    }
