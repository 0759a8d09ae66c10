"""Limits how often one address may name what does not exist: executions in callbacks, and keys.

Functions call back without a key, and many of them from one address. So a callback of an existing
execution is accepted whatever other callers of its address do. After too many failures of an
address, the execution of each further callback is looked up before its body is read, and a failure
is answered 429. In the same way a request with a right key is taken whatever others behind its
address guess.

Used by `serve/api.py`, `serve/middleware` and `serve/routes`.
"""

import logging
from typing import Final, NamedTuple

from cachetools import LRUCache
from starlette.types import Scope

from rillflow.errors import OverloadedError
from rillflow.ports.clock import Clock
from serve.limits.client_addresses import address_of

log = logging.getLogger("rillflow.api")

MOST_ADDRESSES: Final = 10_000
"""Addresses that are remembered; the ones that failed longest ago are dropped first."""
MINUTE_S: Final = 60.0


class Failure(NamedTuple):
    """What fails: the words of the refusal, and what is taken whatever others do."""

    refusal: str
    taken: str


UNKNOWN_EXECUTION: Final = Failure(
    "too many callbacks of this address named unknown executions",
    "callbacks of executions that exist are always taken",
)
WRONG_KEY: Final = Failure(
    "too many requests of this address had a wrong key or signature",
    "requests with a right one are always taken",
)


class FailedLookups:
    """Counts the failures of each address; every minute, as many as are allowed are forgotten."""

    def __init__(
        self, per_minute: int | None, clock: Clock, failure: Failure = UNKNOWN_EXECUTION
    ) -> None:
        """Allow so many failures of an address in a minute; None is no limit."""
        self._failure = failure
        self._per_minute = per_minute
        self._clock = clock
        self._by_address = LRUCache[str, tuple[float, float]](MOST_ADDRESSES)

    def are_too_many(self, scope: Scope) -> bool:
        """Tell whether one more failure of a request's address would be too many."""
        if not self._by_address or self._per_minute is None:
            return False
        return self._failures(address_of(scope), self._per_minute) > self._per_minute - 1

    def failed(self, scope: Scope) -> None:
        """Note that a request named what does not exist.

        Raises:
            OverloadedError: Too many of its address did (429).
        """
        if self._per_minute is None:
            return
        if self.are_too_many(scope):
            error = OverloadedError(self._failure.refusal)
            error.hint = (
                f"{self._per_minute} a minute may, as unknown_executions_per_minute"
                f" (RILLFLOW_UNKNOWN_EXECUTIONS_PER_MINUTE) says; {self._failure.taken}"
            )
            raise error
        address = address_of(scope)
        failures = self._failures(address, self._per_minute) + 1
        self._by_address[address] = (failures, self._clock.monotonic_s())
        if failures > self._per_minute - 1:
            log.warning("too_many_failures", extra={"address": address, "of": self._failure[0]})

    def _failures(self, address: str, per_minute: int) -> float:
        failures, at_s = self._by_address.get(address, (0.0, 0.0))
        forgotten = (self._clock.monotonic_s() - at_s) * per_minute / MINUTE_S
        left = max(failures - forgotten, 0.0)
        if not left:
            self._by_address.pop(address, None)
        return left
