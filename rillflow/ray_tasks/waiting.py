"""Calls of Ray that are under way, and why one of them may wait for ever."""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import ray

from rillflow.gateways.limits.answer_budget import CallId
from rillflow.gateways.limits.concurrency import Usage
from rillflow.ports.gateway import HostState
from rillflow.ray_tasks.call_slots import host_state
from rillflow.ray_tasks.node_resources import lacking
from rillflow.ray_tasks.targets import SCHEME
from rillflow.task_set import TaskSet

FIRST_LOOK_S: Final = 2.0
"""After so long without an outcome it is looked whether any node has what a call needs."""
LOOK_S: Final = 15.0

log = logging.getLogger("rillflow.ray_tasks")


class WaitingCalls:
    """Counts calls, and looks after those that take long."""

    def __init__(self) -> None:
        self._under_way = 0
        self._lacking: dict[CallId, str] = {}
        self._looks: TaskSet[None] = TaskSet()

    @contextmanager
    def waiting(self, call: CallId, name: str, options: Mapping[str, Any]) -> Iterator[None]:
        """Count a call as long as it is waited for."""
        looks: list[asyncio.Task[None]] = []
        timer = asyncio.get_running_loop().call_later(
            FIRST_LOOK_S, lambda: looks.append(self._looks.start(self._look(call, name, options)))
        )
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            timer.cancel()
            for look in looks:
                look.cancel()
            self._lacking.pop(call, None)

    def hosts(self, queued: int) -> list[HostState]:
        """Return Ray as a host, if it is called: calls that wait in vain are warned of.

        Args:
            queued: How many calls wait before they are made.
        """
        if not self._under_way + queued:
            return []
        reasons = Counter(self._lacking.values())
        usage = Usage(self._under_way - len(self._lacking), len(self._lacking) + queued)
        warnings = [f"{reason} (calls: {calls})" for reason, calls in reasons.items()]
        return [host_state(f"{SCHEME}://", usage, warnings)]

    async def _look(self, call: CallId, name: str, options: Mapping[str, Any]) -> None:
        while True:
            lacks = lacking(options, await asyncio.to_thread(ray.nodes))
            if lacks and call not in self._lacking:
                log.warning("ray_call_infeasible", extra={"function": name, "lacks": lacks})
                self._lacking[call] = (
                    f"{SCHEME}://{name} waits for a node with {lacks}: none has it"
                )
            elif not lacks:
                self._lacking.pop(call, None)
            await asyncio.sleep(LOOK_S)
