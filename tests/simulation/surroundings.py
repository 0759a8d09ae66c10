"""What every part of a simulated run shares: the loop, the dice, the weather, the record."""

import asyncio
from collections.abc import Callable
from contextvars import Context
from random import Random
from typing import Final

from tests.simulation.faults import FAIR, Faults
from tests.simulation.virtual_loop import LIFE, Life, VirtualLoop

START_MS: Final = 1_760_000_000_000
JUMPS_S: Final = (-3600.0, -60.0, 60.0, 3600.0)
"""By how much the clock of a machine may be wrong."""


class Surroundings:
    """The loop, the dice and the weather of one run, and the record of what happened.

    What promises are broken is noted in ``broken`` and ends the run at its next look.
    """

    def __init__(self, seed: int, faults: Faults) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.loop = VirtualLoop(Random(seed + 1))
        self.faults = faults
        self.record: list[tuple[float, str, str, str]] = []
        self.broken: list[str] = []
        self.lives: list[Life] = []

    def happens(self, likelihood: float) -> bool:
        """Throw the dice for a fault."""
        return likelihood > 0 and self.random.random() < likelihood

    def note(self, kind: str, about: str = "") -> None:
        """Write a line of the record."""
        life = LIFE.get()
        self.record.append((self.loop.time(), repr(life) if life else "", kind, about))

    def break_promise(self, promise: str) -> None:
        """Note that a promise was broken."""
        self.note("BROKEN", promise)
        self.broken.append(promise)

    def clear_up(self) -> None:
        """End all faults for good."""
        self.faults = FAIR
        for life in self.lives:
            life.frailty = 0.0

    def begin_life(self, name: str, *, frail: bool) -> Life:
        """Begin a new life under a name; its number counts the lives of that name."""
        number = 1 + sum(life.name == name for life in self.lives)
        life = Life(name, number, frailty=self.faults.frailty if frail else 0.0)
        life.mourners.append(lambda dead: self.note("died", repr(dead)))
        self.lives.append(life)
        return life

    def later(self, delay_s: float, do: Callable[..., None], *args: object) -> None:
        """Schedule what belongs to no process, and so outlives whoever runs now."""
        self.loop.call_later(delay_s, do, *args, context=Context())

    async def pause(self, shortest_s: float, longest_s: float) -> None:
        """Let a random time pass."""
        await asyncio.sleep(self.random.uniform(shortest_s, longest_s))


class SimulatedClock:
    """The clock of one machine: wall time that may be wrong, and monotonic time."""

    def __init__(self, loop: VirtualLoop, wrong_by_s: Callable[[], float] = lambda: 0.0) -> None:
        self._loop = loop
        self._wrong_by_s = wrong_by_s

    def now_ms(self) -> int:
        return START_MS + round((self._loop.time() + self._wrong_by_s()) * 1000)

    def monotonic_s(self) -> float:
        return self._loop.time()
