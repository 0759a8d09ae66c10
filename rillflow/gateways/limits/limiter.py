"""The limiter: when a call may go out, by circuits, concurrency and rates.

Used by `gateways/http/gateway.py`.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from rillflow.errors import BrokenExchangeError, NotConnectedError
from rillflow.gateways.limits.call_timeout import CallTimeout
from rillflow.gateways.limits.circuit_breaker import Circuit, Circuits
from rillflow.gateways.limits.concurrency import Caller
from rillflow.gateways.limits.deadlines import Deadlines
from rillflow.gateways.limits.host_slots import HostSlots, Place, Usage
from rillflow.gateways.limits.rates import Rates
from rillflow.gateways.outbound.exchange import HttpCall, Reply
from rillflow.gateways.outbound.hints import retry_after_s
from rillflow.gateways.outbound.settings import HttpSettings
from rillflow.ports.clock import Clock
from rillflow.ports.gateway import CircuitState, DispatchAnswer, HostState

_ERRORS: Final = 400
_TOO_MANY: Final = 429
_UNAVAILABLE: Final = 503
_NOBODY: Final = Usage(0, 0)


class CallLimiter:
    """Gives calls their turn, and learns from their results.

    A call is held back while the circuit of its host or function is open, for at most half of its
    task's time. Then it goes out whatever the circuit says: the breaker delays calls and fails
    none.
    """

    def __init__(self, settings: HttpSettings, clock: Clock) -> None:
        self.rates = Rates(settings.rate_per_host, settings.rates_by_host)
        self.slots = HostSlots(
            per_host=settings.limit_per_host, total=settings.pool_size, rates=self.rates
        )
        self.circuits = Circuits(settings.breaker)
        self.deadlines = Deadlines()
        self.clock = clock
        self._longest_s = min(settings.breaker.longest_pause_s, settings.call_timeout_s)

    def turn(
        self,
        caller: Caller,
        own_s: float | None,
        names: tuple[str, str],
        limit: CallTimeout | None = None,
    ) -> "Turn":
        """Return the turn of a call.

        Args:
            caller: Whose call it is.
            own_s: The time-out of its task, in seconds; None if that has none.
            names: Its host and its function.
            limit: Its time-out once it goes out; None of one that is made elsewhere.
        """
        return Turn(self, caller, own_s, names, limit)

    def patience_s(self, own_s: float | None) -> float:
        """Return how long a circuit may hold back a call whose task has this time-out."""
        return self._longest_s if own_s is None else min(own_s / 2, self._longest_s)

    def hosts(self) -> list[HostState]:
        """Return the state of every host that is called, was called lately, or has failed."""
        now_s = asyncio.get_running_loop().time()
        usage = self.slots.usage()
        circuits: dict[str, dict[str, Circuit]] = {origin: {} for origin in usage}
        for name, circuit in self.circuits.known.items():
            circuits.setdefault(_origin_of(name), {})[name] = circuit
        return [
            self._host(origin, usage.get(origin, _NOBODY), circuits[origin], now_s)
            for origin in sorted(circuits)
        ]

    def close(self) -> None:
        """Drop all circuits, and let no call wait."""
        self.circuits.close()
        self.deadlines.close()
        for place in self.slots.places():
            place.give_up()

    def _host(
        self, origin: str, usage: Usage, circuits: dict[str, Circuit], now_s: float
    ) -> HostState:
        held = sum(circuit.waiting for circuit in circuits.values())
        own = circuits.pop(origin, None)
        pace = self.rates.pace(origin)
        return HostState(
            host=_circuit_state(origin, own, now_s),
            under_way=usage.under_way,
            waiting=usage.waiting,
            held=held,
            rate_per_s=pace.per_s if pace else None,
            idle_s=None if usage.idle_s is None else round(usage.idle_s, 3),
            functions=[_circuit_state(name, circuit, now_s) for name, circuit in circuits.items()],
        )


class NoLimiter:
    """In place of a limiter, for calls that have had their turn elsewhere: none waits here."""

    def turn(
        self,
        caller: Caller,
        own_s: float | None,
        names: tuple[str, str],
        limit: CallTimeout | None = None,
    ) -> Self:
        """Return a turn that begins at once."""
        del caller, own_s, names, limit
        return self

    def begins_at_once(self) -> bool:
        """Begin."""
        return True

    async def begin(self) -> None:
        """Never wait."""

    def __enter__(self) -> Self:
        """Go on."""
        return self

    def __exit__(self, *_: object) -> None:
        """Release nothing."""

    def answered(self, reply: Reply) -> None:
        """Learn nothing: whoever has given the turn learns from the answer."""

    def made_elsewhere(self, answer: DispatchAnswer) -> None:
        """Learn nothing."""

    def hosts(self) -> list[HostState]:
        """Return no hosts: those are known where calls get their turn."""
        return []

    def close(self) -> None:
        """There is nothing to drop."""


class Turn:
    """The turn of one call, which begins at once or is waited for.

    It is left as a context once it has begun, which releases everything, however the call ended.
    """

    __slots__ = (
        "_deadline_s",
        "_limit",
        "_own_s",
        "_place",
        "_probes",
        "_turns",
        "_until_s",
        "caller",
        "names",
    )

    def __init__(
        self,
        turns: CallLimiter,
        caller: Caller,
        own_s: float | None,
        names: tuple[str, str],
        limit: CallTimeout | None,
    ) -> None:
        self._turns = turns
        self.caller = caller
        self._own_s = own_s
        self.names = names
        """Its host and its function."""
        self._until_s: float | None = None
        self._limit = limit
        self._deadline_s: float | None = None
        self._probes: list[Circuit] | None = None
        self._place: Place | None = None

    def queue(self, told: Callable[[], None]) -> bool:
        """Begin, or wait without a task; ``told`` is called when ``go_on`` is to be awaited.

        Returns:
            Whether it does so: not while a circuit holds the call back.
        """
        turns = self._turns
        if turns.circuits.known and self._blocking() is not None:
            return False
        place = self._place = Place(turns.slots, self.names[0], self.caller, told)
        place.enter()
        if self._own_s is not None and not place.has_entered:
            self._until_s = asyncio.get_running_loop().time() + self._own_s
            turns.deadlines.add(self._until_s, place)
        return True

    async def go_on(self, limit: CallTimeout) -> None:
        """Begin where it has waited without a task, within a time-out.

        Raises:
            TimeoutError: It has waited for too long.
        """
        self._limit, place = limit, self._place
        if self._until_s is not None:
            limit.reschedule(self._until_s)
        if place is None or place.has_left:
            raise TimeoutError
        if not place.has_entered:
            await place.end_wait()
        if self._turns.circuits.known:
            if self._blocking() is None:
                self._probe()
            else:
                # A circuit opened while the call waited for its slot.
                place.leave()
                self._place = None
                await self.begin()
                return
        self._place = None

    def leave(self) -> None:
        """Wait no more without a task, or leave where that has ended and nothing has gone on."""
        place, self._place = self._place, None
        if place is not None:
            place.leave()

    def begins_at_once(self) -> bool:
        """Begin if nothing keeps the call from going out now, and tell so."""
        turns = self._turns
        return not turns.circuits.known and turns.slots.enter(self.names[0], self.caller)

    async def begin(self) -> None:
        """Wait until circuits, slots and rate let the call go out."""
        slots, origin, known = self._turns.slots, self.names[0], self._turns.circuits.known
        while True:
            while known and (circuit := self._blocking()):
                await circuit.wait(self._deadline())
            await slots.acquire(origin, self.caller)
            if not known or self._blocking() is None:
                break
            # A circuit opened while the call waited for its slot.
            slots.release(origin, self.caller)
        if known:
            self._probe()

    def __enter__(self) -> Self:
        """Go on, in a turn that has begun."""
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _: TracebackType | None,
    ) -> None:
        """Leave; no connection counts against the host, no answer against the function."""
        host, function = self.names
        self._turns.slots.release(host, self.caller)
        if error is not None:
            if isinstance(error, NotConnectedError):
                self._settle(host, is_well=False)
            elif isinstance(error, BrokenExchangeError | TimeoutError) or (
                self._limit is not None and self._limit.expired()
            ):
                self._settle(function, is_well=False)
        for circuit in self._probes or ():
            circuit.pass_on()

    def answered(self, reply: Reply) -> None:
        """Note the answer: the host was reached, and its function succeeded or failed."""
        if self._turns.circuits.known or reply.status >= _ERRORS:
            self._reached(reply.status, reply.headers.get("retry-after"))

    def made_elsewhere(self, answer: DispatchAnswer) -> None:
        """Note how a call went that another dispatcher has made."""
        status = answer.http_status
        if status is not None:
            if status >= _ERRORS or self._turns.circuits.known:
                self._reached(status, wish_s=answer.retry_after_s)
        elif answer.lost:
            host, function = self.names
            self._settle(host if answer.lost == "connection" else function, is_well=False)

    def _reached(
        self, status: int, asked: str | None = None, *, wish_s: float | None = None
    ) -> None:
        """Note an answer, with the pause that it asks for: as it is sent, or in seconds."""
        host, function = self.names
        is_well = status < 500 and status != _TOO_MANY
        if is_well and not self._turns.circuits.known:
            return
        self._settle(host, is_well=True)
        if is_well:
            self._settle(function, is_well=True)
            return
        if status not in (_TOO_MANY, _UNAVAILABLE):
            wish_s = None
        elif asked:
            wish_s = retry_after_s(asked, now_ms=self._turns.clock.now_ms())
        self._settle(function, is_well=False, wish_s=wish_s)

    def _deadline(self) -> float:
        if self._deadline_s is None:
            self._deadline_s = asyncio.get_running_loop().time() + self._turns.patience_s(
                self._own_s
            )
        return self._deadline_s

    def _blocking(self) -> Circuit | None:
        """Return a circuit that blocks this call now."""
        circuits = self._turns.circuits
        deadline_s = self._deadline_s
        if deadline_s is not None and deadline_s <= asyncio.get_running_loop().time():
            return None
        for name in reversed(self.names):
            circuit = circuits.find(name)
            if circuit is not None and circuit.blocks:
                return circuit
        return None

    def _probe(self) -> None:
        """Make this call the probe, if a pause is over and there is no other probe."""
        circuits = self._turns.circuits
        for name in self.names:
            circuit = circuits.find(name)
            if circuit is not None and circuit.is_open and not circuit.blocks:
                circuit.probe = self
                self._probes = [*(self._probes or ()), circuit]

    def _settle(self, name: str, *, is_well: bool, wish_s: float | None = None) -> None:
        circuits = self._turns.circuits
        if self._probes:
            circuit = circuits.find(name)
            if circuit in self._probes:
                self._probes.remove(circuit)
                circuit.probe = None
        if is_well:
            circuits.succeeded(name)
        else:
            circuits.failed(name, wish_s)


def function_of(call: HttpCall) -> str:
    """Return the address of a call's function, without its query."""
    return call.url.partition("?")[0]


def _origin_of(name: str) -> str:
    return "/".join(name.split("/", 3)[:3])


def _circuit_state(name: str, circuit: Circuit | None, now_s: float) -> CircuitState:
    open_for_s = circuit.open_for_s(now_s) if circuit else 0.0
    state = "closed"
    if circuit and circuit.is_open:
        state = "open" if open_for_s else "half-open"
    return CircuitState(
        name=name,
        state=state,
        failures=circuit.failures if circuit else 0,
        open_for_s=round(open_for_s, 3),
    )
