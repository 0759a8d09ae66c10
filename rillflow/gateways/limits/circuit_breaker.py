"""The circuit breaker: calls to failing hosts and functions are held back for a while.

It delays calls and fails none. A connection error counts for the host; a failed answer counts for
the function, so a broken function does not delay others behind its gateway. The state is in memory,
and uses the event loop's clock.

Used by `gateways/limits/limiter.py`.
"""

import asyncio
from collections import OrderedDict
from typing import Final

from rillflow.gateways.outbound.settings import BreakerPolicy

MOST_KNOWN: Final = 10_000
"""Limit of hosts and functions that are remembered; those without failures are dropped first."""


class Circuit:
    """A host or a function after a failure; the next success ends it.

    Closed until there were ``failures``, then open for a pause, then half-open: one call goes out
    as a probe, and the others wait for its result.
    """

    __slots__ = ("_pause_s", "_policy", "_timer", "_until_s", "_waiting", "failures", "probe")

    def __init__(self, policy: BreakerPolicy) -> None:
        self._policy = policy
        self._pause_s = 0.0
        self._until_s: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: OrderedDict[asyncio.Future[None], None] = OrderedDict()
        self.failures = 0
        self.probe: object = None

    @property
    def waiting(self) -> int:
        """The number of calls that are held back."""
        return len(self._waiting)

    @property
    def is_open(self) -> bool:
        """Tell whether calls are held back, also in the half-open state."""
        return self._until_s is not None

    def open_for_s(self, now_s: float) -> float:
        """Return for how many seconds no call goes out at all."""
        return 0.0 if self._until_s is None else max(self._until_s - now_s, 0.0)

    @property
    def blocks(self) -> bool:
        """Tell whether a call has to wait."""
        return self._timer is not None or (self.is_open and self.probe is not None)

    async def wait(self, deadline_s: float) -> None:
        """Wait until the circuit may have changed, or until the deadline."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[turn] = None
        try:
            async with asyncio.timeout_at(deadline_s):
                await turn
        except TimeoutError:
            return
        finally:
            self._waiting.pop(turn, None)

    def failed(self, now_s: float, wish_s: float | None) -> None:
        """Count a failure; ``wish_s`` is the pause that the answer asked for."""
        self.failures += 1
        policy = self._policy
        if self._until_s is None:
            if wish_s is None and self.failures < policy.failures:
                return
            self._pause_s = policy.pause_s
        elif self._timer is None:
            self._pause_s *= 2
        elif wish_s is None:
            return  # the call was made before the circuit opened
        self._pause_s = min(self._pause_s, policy.longest_pause_s)
        pause_s = min(max(self._pause_s, wish_s or 0.0), policy.longest_pause_s)
        self._open_until(max(now_s + pause_s, self._until_s or 0.0))

    def pass_on(self) -> None:
        """Note that the probe has no result; the next waiting call may try."""
        self.probe = None
        if self._timer is None:
            self._wake_one()

    def close(self) -> None:
        """Release all waiting calls."""
        self._until_s = None
        self.probe = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            self._wake_one()

    def _open_until(self, until_s: float) -> None:
        self._until_s = until_s
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(until_s, self._pause_is_over)

    def _pause_is_over(self) -> None:
        self._timer = None
        self._wake_one()

    def _wake_one(self) -> None:
        while self._waiting:
            turn, _ = self._waiting.popitem(last=False)
            if not turn.done():
                turn.set_result(None)
                return


class Circuits:
    """The circuits of all hosts and functions that have failed since they last succeeded.

    Attributes:
        known: The circuits by name. Nearly always there are none, or none of a call's.
    """

    def __init__(self, policy: BreakerPolicy) -> None:
        self._policy = policy
        self.known: OrderedDict[str, Circuit] = OrderedDict()

    def __len__(self) -> int:
        return len(self.known)

    def find(self, name: str) -> Circuit | None:
        """Return the circuit of a host or function, None if its last call succeeded."""
        return self.known.get(name)

    def succeeded(self, name: str) -> None:
        """Note a success, which removes the circuit."""
        circuit = self.known.pop(name, None)
        if circuit is not None:
            circuit.close()

    def failed(self, name: str, wish_s: float | None = None) -> None:
        """Note a failure."""
        if self._policy.failures <= 0:
            return
        circuit = self.known.get(name)
        if circuit is None:
            circuit = self.known[name] = Circuit(self._policy)
            if len(self.known) > MOST_KNOWN:
                _, oldest = self.known.popitem(last=False)
                oldest.close()
        self.known.move_to_end(name)
        circuit.failed(asyncio.get_running_loop().time(), wish_s)

    def close(self) -> None:
        """Release all waiting calls."""
        while self.known:
            _, circuit = self.known.popitem()
            circuit.close()
