"""What a dispatcher counts and measures of its calls, for the metrics.

Used by `actors/dispatcher_actor.py`, `runtime/local.py`.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from rillflow.gateways.limits.delegation_call import Delegate, DelegationCall, DelegationGateway
from rillflow.gateways.limits.waiting_call import TurnGateway, WaitingCall
from rillflow.ids import ExecutionId, workspace_of
from rillflow.ports.clock import Clock
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest, Gateway, HostState, failed
from rillflow.telemetry import metrics
from rillflow.telemetry.meters import MOST_HOSTS, BoundedNames, Meters
from rillflow.telemetry.metrics import OTHER
from rillflow.telemetry.profile import CALLS_ILL, CALLS_WELL
from rillflow.telemetry.states import Labels

MOST_ADDRESSES: Final = 5_000
"""Of so many addresses the host is remembered."""
_HOST: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)(?:[^/?#]*@)?([A-Za-z0-9._\[\]:-]*)")
_WITH_HOST: Final = ("http://", "https://")
_CLOSED: Final = "closed"


def host_of(address: str) -> str:
    """Return scheme and host of an address, without user and path; of other schemes the scheme."""
    match = _HOST.match(address)
    if match is None:
        return OTHER
    scheme = match[1].lower()
    return f"{scheme}{match[2].lower()}" if scheme in _WITH_HOST else scheme


class MeasuredGateway:
    """A gateway whose calls are counted and measured; see the ``Gateway`` port."""

    def __init__(
        self,
        gateway: Gateway,
        meters: Meters,
        clock: Clock,
        passes_on: DelegationGateway | None = None,
        queues: TurnGateway | None = None,
    ) -> None:
        """Measure the calls of a gateway, and those that it ``passes_on`` or ``queues``."""
        self._gateway = gateway
        self._passes_on = passes_on
        self._queues = queues
        self._now_s = clock.monotonic_s
        self._names = BoundedNames(MOST_HOSTS)
        self._hosts: dict[str, str] = {}
        self._profile = meters.profile
        self._attempts = meters.counter(metrics.ATTEMPTS)
        self._duration = meters.histogram(metrics.CALL_DURATION)

    async def call(self, request: DispatchRequest) -> DispatchAnswer:
        """Make one attempt, and note it."""
        began_s = self._now_s()
        answer = await self._gateway.call(request)
        self._note(request, began_s, answer)
        return answer

    def queue(self, call: WaitingCall) -> bool:
        """Begin a call when its turn comes, which is waited for from now on."""
        call.begun_s = self._now_s()
        return self._queues is not None and self._queues.queue(call)

    async def make(self, call: WaitingCall) -> DispatchAnswer:
        """Make one attempt whose turn has come, and note it."""
        if self._queues is None:  # it has queued nothing
            return failed(call.request, "")
        answer = await self._queues.make(call)
        self._note(call.request, call.begun_s, answer)
        return answer

    def chosen(self, calls: int) -> Delegate | None:
        """Return who is to make the next calls; see ``DelegationGateway``."""
        return None if self._passes_on is None else self._passes_on.chosen(calls)

    def pass_on(self, call: DelegationCall, delegate: Delegate) -> bool:
        """Pass a call on, if its turn is now."""
        call.begun_s = self._now_s()
        return self._passes_on is not None and self._passes_on.pass_on(call, delegate)

    def finished(
        self, call: DelegationCall, outcome: DispatchAnswer | TimeoutError
    ) -> DispatchAnswer | Awaitable[DispatchAnswer]:
        """Return the answer of a call that was passed on, and note it."""
        if self._passes_on is None:  # it has passed nothing on
            return failed(call.request, "")
        finished = self._passes_on.finished(call, outcome)
        if isinstance(finished, DispatchAnswer):
            self._note(call.request, call.begun_s, finished)
            return finished
        return self._finished_later(call, finished)

    async def _finished_later(
        self, call: DelegationCall, finished: Awaitable[DispatchAnswer]
    ) -> DispatchAnswer:
        answer = await finished
        self._note(call.request, call.begun_s, answer)
        return answer

    def _note(self, request: DispatchRequest, began_s: float, answer: DispatchAnswer) -> None:
        address = request.resource_name
        host = self._hosts.get(address) or self._remembered(address, request.execution_id)
        taken_s, is_well = self._now_s() - began_s, answer.error is None
        self._duration.observe(taken_s, (host,))
        self._attempts.add((host, "success" if is_well else "failure"))
        if self._profile is not None:
            self._profile.note(CALLS_WELL if is_well else CALLS_ILL, host, taken_s)

    async def close(self) -> None:
        """Release the connections."""
        await self._gateway.close()

    def _remembered(self, address: str, execution_id: ExecutionId) -> str:
        host = self._names.shown(host_of(address), workspace_of(execution_id))
        if host != OTHER:  # of another workspace it may have a name
            if len(self._hosts) >= MOST_ADDRESSES:
                self._hosts.clear()
            self._hosts[address] = host
        return host


def read_hosts(meters: Meters, hosts: Callable[[], Sequence[HostState]]) -> None:
    """Have the state of the gateway hosts read with the metrics; the busiest ones by name."""

    def calls() -> dict[Labels, float]:
        shown: dict[Labels, float] = {}
        for name, each in _busiest_first(hosts()):
            states = {"under_way": each.under_way, "waiting": each.waiting, "held": each.held}
            for state, number in states.items():
                shown[name, state] = shown.get((name, state), 0) + number
        return shown

    def circuits() -> dict[Labels, float]:
        shown: dict[Labels, float] = {}
        for name, each in _busiest_first(hosts()):
            number = sum(one.state != _CLOSED for one in (each.host, *each.functions))
            shown[name,] = shown.get((name,), 0) + number
        return shown

    meters.read(metrics.GATEWAY_CALLS, calls)
    meters.read(metrics.OPEN_CIRCUITS, circuits)


def _busiest_first(states: Sequence[HostState]) -> list[tuple[str, HostState]]:
    ordered = sorted(states, key=lambda each: -(each.under_way + each.waiting + each.held))
    return [
        (host_of(each.host.name) if place < MOST_HOSTS else OTHER, each)
        for place, each in enumerate(ordered)
    ]
