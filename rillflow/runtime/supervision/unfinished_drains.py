"""Drains that timed out: what each actor waits for, and when it may be drained again.

Used by `actors/lifecycle/steps.py`.
"""

import time
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from rillflow.runtime.supervision.actor_pauses import ActorPauses


class _Unfinished(NamedTuple):
    since_s: float
    waits_for: str


class Drains:
    """Remembers, by the names of actors, drains that did not come to an end.

    An actor is left alone for a while after each of them, since a drain holds up what is new; for
    twice as long each time. So what always ends soon meets a short drain, and what takes long is
    not held up again and again.
    """

    def __init__(
        self, first_s: float, longest_s: float, *, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        """Leave an actor alone for ``first_s``, and at most for ``longest_s``, in seconds."""
        self._pauses = ActorPauses(first_s, longest_s, now_s=now_s)
        self._now_s = now_s
        self._unfinished: dict[str, _Unfinished] = {}

    def unfinished(self, name: str, waits_for: Sequence[str], most_s: float | None) -> bool:
        """Note that an actor has not finished.

        Args:
            name: Its name.
            waits_for: What it waits for, in words.
            most_s: How long after the first of its drains the last one may be; None for ever.

        Returns:
            Whether that time is over, so that it is to be ended all the same.
        """
        now_s = self._now_s()
        before = self._unfinished.get(name)
        since_s = now_s if before is None else before.since_s
        self._unfinished[name] = _Unfinished(since_s, ", ".join(waits_for))
        if most_s is None:
            self._pauses.begin(name)
            return False
        left_s = since_s + most_s - now_s
        if left_s > 0:
            self._pauses.begin(name, left_s)
        return left_s <= 0

    def forget(self, name: str) -> None:
        """Note that an actor has finished, or has ended."""
        self._unfinished.pop(name, None)
        self._pauses.forget(name)

    def left_alone(self) -> set[str]:
        """Return the actors that are not asked again yet."""
        return self._pauses.names()

    def next_s(self) -> float | None:
        """Return in how many seconds the next one is asked again; None where none is."""
        return self._pauses.next_s()

    def causes(self, names: Collection[str]) -> list[str]:
        """Tell what actors wait for, those of some names."""
        return [
            f"{name} waits for {left.waits_for}"
            for name, left in self._unfinished.items()
            if name in names
        ]
