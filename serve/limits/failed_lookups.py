"""How often one address may call back for executions that do not exist.

Functions call back without a key, and many of them from one address; so a callback of an
execution that exists is taken whatever others behind its address do. Where too many of them
failed, each is looked up before its body is read, and a failure is told to come later.
"""

from collections import OrderedDict
from typing import Final

from starlette.types import Scope

from rillflow.errors import OverloadedError
from rillflow.ports.clock import Clock
from serve.limits.client_addresses import address_of

MOST_ADDRESSES: Final = 10_000
"""Addresses that are remembered; of more, those are forgotten that failed longest ago."""
MINUTE_S: Final = 60.0


class FailedLookups:
    """Counts failures of each address; so many a minute are forgotten again."""

    def __init__(self, per_minute: int | None, clock: Clock) -> None:
        """Let an address fail so often in a minute; None lets it fail as often as it likes."""
        self._per_minute = per_minute
        self._clock = clock
        self._by_address: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def are_too_many(self, scope: Scope) -> bool:
        """Tell whether one more failure of a request's address would be too many."""
        if not self._by_address or self._per_minute is None:
            return False
        return self._failures(address_of(scope), self._per_minute) > self._per_minute - 1

    def failed(self, scope: Scope) -> None:
        """Note that a request named an execution that does not exist.

        Raises:
            OverloadedError: Too many of its address did (429).
        """
        if self._per_minute is None:
            return
        if self.are_too_many(scope):
            error = OverloadedError("too many callbacks of this address named unknown executions")
            error.hint = (
                f"{self._per_minute} a minute may, as unknown_executions_per_minute"
                " (RILLFLOW_UNKNOWN_EXECUTIONS_PER_MINUTE) says; callbacks of executions that"
                " exist are always taken"
            )
            raise error
        address = address_of(scope)
        failures = self._failures(address, self._per_minute) + 1
        self._by_address[address] = (failures, self._clock.monotonic_s())
        self._by_address.move_to_end(address)
        if len(self._by_address) > MOST_ADDRESSES:
            self._by_address.popitem(last=False)

    def _failures(self, address: str, per_minute: int) -> float:
        failures, at_s = self._by_address.get(address, (0.0, 0.0))
        forgotten = (self._clock.monotonic_s() - at_s) * per_minute / MINUTE_S
        left = max(failures - forgotten, 0.0)
        if not left:
            self._by_address.pop(address, None)
        return left
