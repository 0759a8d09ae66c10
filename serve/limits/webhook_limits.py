"""Limits of requests to webhooks, whose senders have no key: by address and by webhook.

Addresses are limited before a webhook is looked up, except this machine, through which a reverse
proxy may send everything. Failures count more. Webhooks are limited once a signature is right, so
that callers without a signature take nothing from those who may call. How many bodies of one
webhook arrive at once is limited apart; how slowly they may, ``body_pool.py`` says.

Used by `serve/routes/webhooks`.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from cachetools import LRUCache
from starlette.types import Scope

from rillflow.errors import OverloadedError
from rillflow.ports.clock import Clock
from serve.limits.client_addresses import address_of, is_this_machine
from serve.limits.work_room import SMALL_BYTES, WorkRoom

MOST_KNOWN: Final = 10_000
"""Addresses, and webhooks, that are remembered; those that came longest ago are dropped first."""
PER_ADDRESS_S: Final = 100
BURST_OF_ADDRESS: Final = 1_000
COST_OF_FAILURE: Final = 5
"""A request without a webhook, or with a wrong signature, counts as so many."""
PER_WEBHOOK_S: Final = 100
BURST_OF_WEBHOOK: Final = 1_000
MOST_BODIES_OF_WEBHOOK: Final = 256
"""Bodies of one webhook that arrive at once; a replica waits for four times as many in all."""
MOST_BODIES_OF_ADDRESS: Final = MOST_BODIES_OF_WEBHOOK // 8
"""Those that one address sends to it, unless that is this machine."""
MOST_AT_WORK_BYTES: Final = 64 << 20
"""What the bodies that are worked on may have together, and half of it those of one workspace."""


class Rates:
    """How often each of many may come: a token bucket each, which may be overdrawn."""

    def __init__(self, per_s: float, burst: float, clock: Clock) -> None:
        self._per_s, self._burst, self._clock = per_s, burst, clock
        self._left = LRUCache[str, tuple[float, float]](MOST_KNOWN)

    def __len__(self) -> int:
        return len(self._left)

    def wait_s(self, name: str) -> float:
        """Return how long one has to wait; 0 if it may come now."""
        left = self._now(name)
        return 0.0 if left >= 1 else (1 - left) / self._per_s

    def count(self, name: str, number: int = 1) -> None:
        """Count what has come; one never has to wait longer than a burst takes."""
        left = max(self._now(name) - number, -self._burst)
        self._left[name] = left, self._clock.monotonic_s()

    def _now(self, name: str) -> float:
        left, at_s = self._left.get(name, (self._burst, 0.0))
        return min(self._burst, left + (self._clock.monotonic_s() - at_s) * self._per_s)


class WebhookLimits:
    """The limits of one replica."""

    def __init__(self, clock: Clock) -> None:
        self._addresses = Rates(PER_ADDRESS_S, BURST_OF_ADDRESS, clock)
        self._webhooks = Rates(PER_WEBHOOK_S, BURST_OF_WEBHOOK, clock)
        self._bodies: Counter[tuple[str, str]] = Counter()
        self._work = WorkRoom(MOST_AT_WORK_BYTES, "requests to webhooks")

    def arrived(self, scope: Scope) -> None:
        """Count a request of an address.

        Raises:
            OverloadedError: It has sent too many (429).
        """
        if is_this_machine(scope):
            return
        address = address_of(scope)
        if self._addresses.wait_s(address):
            raise _too_many("of this address", PER_ADDRESS_S)
        self._addresses.count(address)

    def failed(self, scope: Scope) -> None:
        """Count a request that named no webhook, or was not signed."""
        if not is_this_machine(scope):
            self._addresses.count(address_of(scope), COST_OF_FAILURE - 1)

    def signed(self, trigger_id: str) -> None:
        """Count a request of a webhook, whose signature is right.

        Raises:
            OverloadedError: It has had too many (429).
        """
        if self._webhooks.wait_s(trigger_id):
            raise _too_many("to this webhook", PER_WEBHOOK_S)
        self._webhooks.count(trigger_id)

    @contextmanager
    def body_of(self, trigger_id: str, scope: Scope) -> Iterator[None]:
        """Hold a place for a body while it arrives; a small one comes whole, and needs none.

        Raises:
            OverloadedError: Too many of its webhook arrive, or of one address there (429).
        """
        found = (value for name, value in scope["headers"] if name == b"content-length")
        length = next(found, b"")
        if (
            length.isdigit()
            and len(length) < len(b"%d" % MOST_AT_WORK_BYTES)
            and (int(length) <= SMALL_BYTES)
        ):
            yield
            return
        own = "" if is_this_machine(scope) else address_of(scope)
        places = {(trigger_id, ""): MOST_BODIES_OF_WEBHOOK}
        places |= {(trigger_id, own): MOST_BODIES_OF_ADDRESS} if own else {}
        for place, most in places.items():
            if self._bodies[place] >= most:
                raise OverloadedError(
                    "too many requests to this webhook are arriving", hint=f"{most} may at once"
                )
        self._bodies.update(places.keys())
        try:
            yield
        finally:
            self._bodies.subtract(places.keys())
            for place in places:
                if not self._bodies[place]:
                    del self._bodies[place]

    @contextmanager
    def work_on(self, workspace: str, size_bytes: int) -> Iterator[None]:
        """Hold room for a body while it is read, and its execution is started; one always may.

        Raises:
            OverloadedError: Others take all of it, or its workspace a half (503).
        """
        with self._work.hold((workspace,), size_bytes):
            yield


def _too_many(which: str, per_s: int) -> OverloadedError:
    return OverloadedError(
        f"too many requests {which}", hint=f"{per_s} a second may come in the long run"
    )
