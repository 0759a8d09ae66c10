"""Pauses in which an actor is left alone; each of them is twice as long as the one before.

Used by `actors/lifecycle/starts.py` and `runtime/supervision/unfinished_drains.py`.
"""

import math
import time
from collections.abc import Callable

from rillflow.backoff import Backoff


class ActorPauses:
    """Tells which actors are left alone now, by their names."""

    def __init__(
        self, first_s: float, longest_s: float, *, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin with pauses of ``first_s``, and double them up to ``longest_s``, in seconds."""
        self._first_s = first_s
        self._longest_s = longest_s
        self._now_s = now_s
        self._backoffs: dict[str, Backoff] = {}
        self._until_s: dict[str, float] = {}

    def begin(self, name: str, most_s: float = math.inf) -> float:
        """Leave an actor alone, for twice as long as the last time; return for how many seconds.

        At most for ``most_s`` this time.
        """
        backoff = self._backoffs.setdefault(name, Backoff(self._first_s, self._longest_s))
        pause_s = min(backoff.next_s(), most_s)
        self._until_s[name] = self._now_s() + pause_s
        return pause_s

    def forget(self, name: str) -> None:
        """Note that what failed has succeeded: the next pause is the first one."""
        self._backoffs.pop(name, None)
        self._until_s.pop(name, None)

    def next_s(self) -> float | None:
        """Return in how many seconds the next pause is over; None where there is none."""
        now_s = self._now_s()
        return min((each - now_s for each in self._until_s.values() if each > now_s), default=None)

    def names(self) -> set[str]:
        """Return the actors that are left alone now."""
        now_s = self._now_s()
        return {name for name, until_s in self._until_s.items() if until_s > now_s}
