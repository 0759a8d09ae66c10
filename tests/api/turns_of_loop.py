"""Which of the things that a test does hold the event loop for too long."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Self

from tests.machine_speed import slowness, tries
from tests.turns import LONGEST_MS, Turns, measured_turns


class Loop:
    """Notes what holds the loop."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._slow: list[str] = []

    @classmethod
    @asynccontextmanager
    async def measured(cls) -> AsyncIterator[Self]:
        """Measure the turns of the running loop."""
        with measured_turns() as turns:
            yield cls(turns)

    async def of(self, what: str, work: Callable[[], Awaitable[object]]) -> None:
        """Do something, and again while it is slow; it counts if it is slow each time.

        What is remembered of the first time must make no later one faster.
        """
        self._turns.take()
        for _ in tries():
            await work()
            longest_ms = self._turns.take()
            if not _is_slow(longest_ms):
                return
        self._slow.append(f"{what}: {longest_ms:.0f} ms")

    def note(self, what: str) -> None:
        """Say what was done, once and for all, since nothing was noted last."""
        longest_ms = self._turns.take()
        if _is_slow(longest_ms):
            self._slow.append(f"{what}: {longest_ms:.0f} ms")

    def note_nothing(self) -> None:
        """Leave out what was done so far."""
        self._turns.take()

    def assert_free(self) -> None:
        """Fail with everything that took too long."""
        assert not self._slow, "; ".join(self._slow)


def _is_slow(longest_ms: float) -> bool:
    return longest_ms > LONGEST_MS and longest_ms > LONGEST_MS * slowness()
