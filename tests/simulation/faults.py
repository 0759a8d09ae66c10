"""What goes wrong in a run, drawn from its seed, and the dice for everything that is chance."""

from random import Random
from typing import NamedTuple


class Faults(NamedTuple):
    """How likely each fault is; all zero is fair weather.

    ``lost``, ``repeated`` and ``slow`` are about each message between two processes;
    ``refused``, ``unsure`` (written, but an error all the same), ``crash_before`` and
    ``crash_after`` about each append; ``unreadable`` about each read of the store;
    ``frailty`` about each callback of a host or dispatcher. ``upheavals`` is how many
    kills, freezes, take-overs and clock jumps there are, ``requests`` how many redos,
    cancellations and the like, ``mute`` how likely a function never answers. ``defects`` is
    how likely an owner meets a defect with a message, before it has handled it or after; it
    is not drawn.
    """

    lost: float = 0.0
    repeated: float = 0.0
    slow: float = 0.0
    refused: float = 0.0
    unsure: float = 0.0
    crash_before: float = 0.0
    crash_after: float = 0.0
    unreadable: float = 0.0
    frailty: float = 0.0
    mute: float = 0.0
    upheavals: int = 0
    requests: int = 0
    defects: float = 0.0


FAIR = Faults()


def draw_faults(random: Random) -> Faults:
    """Draw the weather of a run: sometimes one trouble only, sometimes all of them."""

    def some(*rates: float) -> float:
        return random.choice(rates)

    return Faults(
        lost=some(0, 0, 0.03, 0.15),
        repeated=some(0, 0, 0.03, 0.15),
        slow=some(0, 0.05, 0.3),
        refused=some(0, 0, 0.03, 0.15),
        unsure=some(0, 0, 0.03, 0.15),
        crash_before=some(0, 0, 0.01, 0.04),
        crash_after=some(0, 0, 0.01, 0.04),
        unreadable=some(0, 0, 0.03, 0.15),
        frailty=some(0, 0, 0.0005, 0.004),
        mute=some(0, 0, 0.1, 0.3),
        upheavals=random.choice([0, 1, 2, 4]),
        requests=random.choice([0, 2, 4, 8]),
    )
