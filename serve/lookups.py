"""How often one address may call back for executions that do not exist.

Whoever may call back without a key could look for ids by trying. Only failures count, so a
gateway whose executions are known calls back as often as it likes; and who shows the seal of a
callback address is let through whatever others behind the same address do.
"""

from collections import OrderedDict
from typing import Final

from starlette.types import Scope

from rillflow.errors import OverloadedError
from rillflow.ports.clock import Clock
from serve.client_addresses import address_of

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

    def check(self, scope: Scope) -> None:
        """Let a request pass whose address has not failed too often.

        Raises:
            OverloadedError: It has (429).
        """
        if not self._by_address or self._per_minute is None:
            return
        if self._failures(address_of(scope), self._per_minute) <= self._per_minute - 1:
            return
        error = OverloadedError("too many callbacks of this address named unknown executions")
        error.hint = (
            f"{self._per_minute} a minute may, as unknown_executions_per_minute"
            " (RILLFLOW_UNKNOWN_EXECUTIONS_PER_MINUTE) says; sealed callbacks are always taken"
        )
        raise error

    def failed(self, scope: Scope) -> None:
        """Note that a request named an execution that does not exist."""
        if self._per_minute is None:
            return
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
