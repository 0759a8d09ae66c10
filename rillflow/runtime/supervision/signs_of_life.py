"""Decides which actors have stopped: those that have given no sign of life for too long.

An execution actor gives two: it renews its lease in the store, and it answers. A dispatcher, which
has no store, answers. Either is enough, so a store that is down, a busy event loop or a lost
message alone costs no actor its place. Times are those of whoever watches, who begins anew after a
pause of its own.

Used by `actors/takeover/actor_watch.py` and `runtime/supervision/lease_renewal.py`.
"""

import time
from collections.abc import Callable, Collection, Sequence
from typing import Final

from rillflow.ports.storage.lease import OwnerLease

RENEW_S: Final = 1.0
"""Time between two renewals of a lease."""
SUSPECT_S: Final = 1.5
"""Without a sign for so long, an actor is asked, and its node is looked at."""
ASKED_S: Final = 0.5
"""How long it has then to answer, at least."""
LIKELY_S: Final = 2.0
"""Without a sign for so long, an actor has probably stopped: a process may start for the next."""
GONE_S: Final = 2.0
"""Without a sign for so long, an actor has stopped whose node cannot be reached either."""
STOPPED_S: Final = 5.0
"""Without a sign for so long, an actor has stopped."""
LATE_S: Final = 3.0
"""After a pause of so long between two looks, what was seen before counts no more."""
OUTDATED_S: Final = 1.5
"""So long after a look it counts no more: who watches may have been stopped meanwhile."""


class SignsOfLife:
    """The latest sign of each actor, by its name."""

    def __init__(self, *, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._looked_s = now_s()
        self._seen_s: dict[str, float] = {}
        self._suspected_s: dict[str, float] = {}
        self._leases: dict[str, OwnerLease] = {}

    def look(self, names: Collection[str], leases: Sequence[OwnerLease]) -> list[str]:
        """Look at the leases of actors.

        Args:
            names: The actors that are watched from now on.
            leases: What the store has now, of other actors too.

        Returns:
            Those that are to be asked, since they have given no sign for a while.
        """
        now_s = self._now_s()
        if now_s - self._looked_s > LATE_S:
            self._seen_s.clear()
        self._looked_s = now_s
        self._seen_s = {name: self._seen_s.get(name, now_s) for name in names}
        for lease in leases:
            if lease.name in self._seen_s and self._leases.get(lease.name) != lease:
                self._seen_s[lease.name] = now_s
        self._leases = {lease.name: lease for lease in leases}
        suspects = self._silent(SUSPECT_S)
        self._suspected_s = {name: self._suspected_s.get(name, now_s) for name in suspects}
        return suspects

    def give(self, name: str) -> None:
        """Note a sign of life, or that somebody else looks after this actor now."""
        if name in self._seen_s:
            self._seen_s[name] = self._now_s()
            self._suspected_s.pop(name, None)

    def has_lease(self, name: str) -> bool:
        """Tell whether an actor has ever taken a lease; those of earlier releases have not."""
        return name in self._leases

    def likely_stopped(self) -> set[str]:
        """Return the actors that have been silent for some time, though they were asked."""
        return self._asked().intersection(self._silent(LIKELY_S))

    def stopped(self, unreachable: Collection[str]) -> list[str]:
        """Return the actors that have stopped, by name.

        Args:
            unreachable: Those whose nodes cannot be reached.
        """
        if self._now_s() - self._looked_s > OUTDATED_S:
            return []
        silent = {*self._silent(STOPPED_S), *set(self._silent(GONE_S)).intersection(unreachable)}
        return sorted(self._asked() & silent)

    def still_silent(self, names: Collection[str], leases: Sequence[OwnerLease]) -> set[str]:
        """Return those of some actors that have given no sign since the last look.

        Args:
            names: Actors that had stopped.
            leases: What the store has now.
        """
        now = {lease.name: lease for lease in leases}
        return {
            name
            for name in self._suspected_s.keys() & set(names)
            if self._leases.get(name) == now.get(name)
        }

    def _asked(self) -> set[str]:
        before_s = self._now_s() - ASKED_S
        return {name for name, since_s in self._suspected_s.items() if since_s <= before_s}

    def _silent(self, for_s: float) -> list[str]:
        before_s = self._now_s() - for_s
        return [name for name, seen_s in self._seen_s.items() if seen_s <= before_s]
