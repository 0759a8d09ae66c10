"""Random numbers of an evaluation: the same for the same seed, in every release.

The generator is SplitMix64 (Steele, Lea and Flood, 2014), whose state is one 64-bit number, so a
replayed execution draws the same numbers as the first time.

Used by `language/expressions/budget.py` and `language/expressions/functions/system.py`.
"""

from typing import Final

_MASK: Final = (1 << 64) - 1
_INCREMENT: Final = 0x9E3779B97F4A7C15


class RandomNumbers:
    """A stream of random numbers that depends on its seed alone."""

    __slots__ = ("_state",)

    def __init__(self, seed: int) -> None:
        self._state = seed & _MASK

    def next_bits(self) -> int:
        """Return the next 64 random bits."""
        self._state = (self._state + _INCREMENT) & _MASK
        mixed = self._state
        mixed = ((mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ mixed >> 27) * 0x94D049BB133111EB) & _MASK
        return mixed ^ mixed >> 31

    def fraction(self) -> float:
        """Return a double from 0 inclusive to 1 exclusive."""
        return (self.next_bits() >> 11) / (1 << 53)

    def below(self, bound: int) -> int:
        """Return an integer from 0 inclusive to ``bound`` exclusive.

        64 bits more than the bound has are drawn, so the bias is below 2**-64.
        """
        bits = self.next_bits()
        for _ in range(bound.bit_length() // 64 + 1):
            bits = bits << 64 | self.next_bits()
        return bits % bound
