"""Which step of the controller, or which take-over, an actor belongs to.

To have an actor finish what it is at, and to wait until the next one answers, takes seconds, in
which another actor may stop, or this one. So the lock is held only while something is decided,
ended or started. Whoever ends an actor looks under the lock whether nobody has claimed it since.

Used by `actors/controller_actor.py`, `actors/lifecycle/steps.py` and `actors/takeover`.
"""

import asyncio
from collections.abc import Collection, Iterable

from rillflow.actors.names import kind_of
from rillflow.runtime.supervision.convergence import EXECUTION


class Claim:
    """What one step does to some actors."""

    def __init__(self, claims: "Claims") -> None:
        self._claims = claims

    def holds(self, name: str) -> bool:
        """Tell whether this actor may still be ended and started; asked under the lock."""
        return self._claims.newest(name) is self


class Claims:
    """The last claim of each actor; ``lock`` is held while actors are ended and started."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.takeovers = 0
        """How often others have taken over; what was seen before the last time is out of date."""
        self._newest: dict[str, Claim] = {}
        self._ending: Collection[str] | None = None
        self._is_closed = False

    def claim(self, names: Iterable[str]) -> Claim:
        """Claim actors; earlier claims of them hold no more."""
        claim = Claim(self)
        if not self._is_closed:
            self._newest.update(dict.fromkeys(names, claim))
        return claim

    def newest(self, name: str) -> Claim | None:
        """Return the last claim of an actor."""
        return self._newest.get(name)

    def note_ending(self, names: Collection[str]) -> None:
        """Know all actors that are to end now, and not to be started before all have ended."""
        self._ending = names

    def only_ends(self, name: str) -> bool:
        """Tell whether an actor is not to be started when it has ended.

        As long as nobody has looked at the actors, that is so for all execution actors: others may
        be of another partition map.
        """
        if self._ending is None:
            return kind_of(name) == EXECUTION
        return name in self._ending

    def close(self) -> None:
        """Let no claim hold any more: everything is being ended."""
        self._is_closed = True
        self._newest.clear()
