"""How many of its calls a busy dispatcher delegates to each other dispatcher; pure.

Used by `runtime/dispatch/delegation.py`.
"""

from collections.abc import Sequence
from typing import Final

BUSY: Final = 0.6
"""A dispatcher that uses more than this part of a processor has others make calls."""
CALM: Final = 0.3
"""One that uses less makes more of its calls itself, until it makes all."""
LEAD: Final = 0.15
"""Another dispatcher gets more calls if it is less busy by this."""
STEP: Final = 0.1
"""By how much a part changes at each look."""
MOST: Final = 0.9
"""The largest part of the calls that others make together."""
RUN: Final = 32
"""At least so many calls go to the same one after another, so that messages have many."""


class LoadSharing:
    """The parts of the calls that others make; while all is quiet, none."""

    def __init__(self, others: int) -> None:
        """Share with so many other dispatchers."""
        self._parts = [0.0] * others
        self._due = [0.0] * others
        self._chosen: int | None = None
        self._left = 0
        self.is_alone = True
        """Whether all calls are made here."""

    @property
    def part(self) -> float:
        """The part of the calls that others make together."""
        return sum(self._parts)

    def look(self, own: float, others: Sequence[float | None]) -> None:
        """Adapt the parts.

        Args:
            own: The part of a processor that this dispatcher uses.
            others: That of each of the others; None for one that cannot be asked.
        """
        self._parts = [
            _next(part, own, busy) for part, busy in zip(self._parts, others, strict=True)
        ]
        total = self.part
        if total > MOST:
            self._parts = [part * MOST / total for part in self._parts]
        self.is_alone = not any(self._parts)
        self._left = min(self._left, 0)

    def choose(self, calls: int = 1) -> int | None:
        """Return which of the others is to make the next calls; None if they are made here."""
        if self._left <= 0:
            self._chosen = self._next(-self._left)
            self._left = RUN
        self._left -= calls
        return self._chosen

    def _next(self, excess: int) -> int | None:
        """Return which of the others has the next run; ``excess`` calls were beyond the last."""
        due, last = self._due, self._chosen
        for index, part in enumerate(self._parts):
            due[index] += part * (RUN + excess)
        if last is not None:
            due[last] -= excess
        index = max(range(len(due)), key=due.__getitem__)
        if due[index] < RUN:
            return None
        due[index] -= RUN
        return index


def _next(part: float, own: float, busy: float | None) -> float:
    """Return the next part of one of the others."""
    if busy is None:
        return 0.0
    if own > BUSY and own - busy > LEAD:
        return part + STEP
    if own < CALM or busy > own:
        return max(round(part - STEP, 6), 0.0)
    return part
