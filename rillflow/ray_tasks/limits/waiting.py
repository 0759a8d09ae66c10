"""Calls of Ray that are under way, and why one of them may wait for ever.

Used by `ray_tasks/gateway.py`.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, NamedTuple, TypeAlias

import ray

from rillflow.gateways.limits.answer_budget import CallId
from rillflow.gateways.limits.host_slots import Usage
from rillflow.ports.gateway import HostState
from rillflow.ray_tasks.limits.call_slots import host_state
from rillflow.ray_tasks.limits.node_resources import Node, beyond, lacking, share_wait, vain_wait
from rillflow.ray_tasks.targets import SCHEME

FIRST_LOOK_S: Final = 2.0
"""After so long without an outcome it is looked whether any node has what a call needs."""
LOOK_S: Final = 15.0

log = logging.getLogger("rillflow.ray_tasks")


_Lack: TypeAlias = tuple[str, Callable[[str, str], str]]


class _Waiting(NamedTuple):
    resource: str
    options: Mapping[str, Any]
    share: float


class WaitingCalls:
    """Counts calls, and looks after those that take long, all of them with one look."""

    def __init__(
        self,
        nodes: Callable[[], Sequence[Node]] = ray.nodes,
        first_look_s: float = FIRST_LOOK_S,
    ) -> None:
        """Ask for the ``nodes`` of the cluster, beside the event loop."""
        self._nodes = nodes
        self._first_look_s = first_look_s
        self._under_way = 0
        self._late: dict[CallId, _Waiting] = {}
        self._lacking: dict[CallId, tuple[str, str]] = {}
        """What is called in vain, and why in words."""
        self._came = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    @contextmanager
    def waiting(
        self, call: CallId, resource: str, options: Mapping[str, Any], share: float = 1.0
    ) -> Iterator[None]:
        """Count a call of a resource, such as ``ray-job://train``, as long as it is waited for.

        Its workspace may have this ``share`` of each resource of the cluster.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(resource, options, share)
        timer = loop.call_later(self._first_look_s, self._is_late, call, waiting)
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            timer.cancel()
            self._late.pop(call, None)
            self._lacking.pop(call, None)

    def hosts(self, slots: int, places: int) -> list[HostState]:
        """Return Ray as a host, if it is called: calls that wait in vain are warned of.

        Args:
            slots: How many calls wait for a slot, before they are counted here.
            places: How many of those that are counted here do not run, since they wait for a place
                in Ray's queue, or stand there in vain.
        """
        if not self._under_way + slots:
            return []
        waiting = min(max(places, len(self._lacking)), self._under_way)
        usage = Usage(self._under_way - waiting, waiting + slots)
        return [host_state(f"{SCHEME}://", usage, self.warnings())]

    def warnings(self, resource: str = "") -> list[str]:
        """Return why calls wait in vain, only those of one resource if it is named."""
        named = (text for called, text in self._lacking.values() if resource in ("", called))
        return [f"{text} (calls: {calls})" for text, calls in Counter(named).items()]

    def _is_late(self, call: CallId, waiting: _Waiting) -> None:
        self._late[call] = waiting
        self._came.set()
        if self._looking is None:
            self._looking = asyncio.create_task(self._look(), name="waiting")

    async def _look(self) -> None:
        try:
            while self._late:
                self._came.clear()
                try:
                    self._compare(await asyncio.to_thread(self._nodes))
                except Exception:
                    log.exception("ray_nodes_not_read")
                await asyncio.sleep(self._first_look_s)
                with suppress(TimeoutError):  # one that has come meanwhile is looked after soon
                    async with asyncio.timeout(LOOK_S):
                        await self._came.wait()
        finally:
            self._looking = None

    def _compare(self, nodes: Sequence[Node]) -> None:
        known: dict[tuple[int, float], _Lack] = {}  # calls of one task share their options
        for call, (resource, options, share) in self._late.items():
            key = id(options), share
            lacks, told = known.get(key) or known.setdefault(key, _lack(options, nodes, share))
            if lacks and call not in self._lacking:
                log.warning("ray_call_infeasible", extra={"function": resource, "lacks": lacks})
                self._lacking[call] = resource, told(resource, lacks)
            elif not lacks:
                self._lacking.pop(call, None)


def _lack(options: Mapping[str, Any], nodes: Sequence[Node], share: float) -> _Lack:
    """Return what a call waits for in vain, and who says so in words."""
    lacks = lacking(options, nodes)
    if lacks:
        return lacks, vain_wait
    return beyond(options, nodes, share), share_wait
