"""Limits for calls of Ray that no resource limits, with fair shares for workspaces and executions.

Used by `ray_tasks/gateway.py` and `ray_tasks/call_gateway.py`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rillflow.gateways.limits.concurrency import caller_of
from rillflow.gateways.limits.host_slots import HostSlots, Usage
from rillflow.gateways.limits.rates import Rates
from rillflow.ports.gateway import CircuitState, DispatchRequest, HostState


class CallSlots:
    """Slots of calls by what they call; a call waits for one before its time-out starts."""

    def __init__(self, *, each: int, total: int) -> None:
        """Have so many calls of ``each`` target under way at most, and so many in ``total``."""
        self._slots = HostSlots(per_host=each, total=total, rates=Rates(None, {}))

    @asynccontextmanager
    async def slot(self, name: str, request: DispatchRequest) -> AsyncIterator[None]:
        """Hold a slot of this target."""
        caller = caller_of(request)
        await self._slots.acquire(name, caller)
        try:
            yield
        finally:
            self._slots.release(name, caller)

    def usage(self, name: str) -> Usage:
        """Return how many calls of a target are under way, and how many wait."""
        return self._slots.usage().get(name, Usage(0, 0))

    def hosts(self) -> list[HostState]:
        """Return the targets as hosts."""
        return [host_state(name, usage) for name, usage in self._slots.usage().items()]


def host_state(name: str, usage: Usage, warnings: list[str] | None = None) -> HostState:
    """Return the state of what has neither a circuit nor a rate."""
    return HostState(
        host=CircuitState(name=name, state="closed", failures=0, open_for_s=0.0),
        under_way=usage.under_way,
        waiting=usage.waiting,
        held=0,
        rate_per_s=None,
        functions=[],
        idle_s=usage.idle_s,
        warnings=warnings or [],
    )
