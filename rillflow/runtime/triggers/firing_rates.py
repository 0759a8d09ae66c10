"""How often the triggers of one workspace may fire, so that they leave time for everything else.

Used by `runtime/triggers/runner.py`.
"""

from collections.abc import Iterable
from itertools import chain, zip_longest
from typing import Final, TypeAlias

from rillflow.ids import workspace_of
from rillflow.ports.clock import Clock
from rillflow.ports.triggers import TriggerRow
from rillflow.runtime.definitions.trigger_room import MOST_TRIGGERS_OF_ONE
from rillflow.runtime.triggers.firing import ActiveTrigger

MOST_AT_ONCE: Final = MOST_TRIGGERS_OF_ONE
"""All triggers of a workspace may fire at the same second, such as midnight."""
MOST_PER_S: Final = 100
"""How many firings of a workspace there may be in the long run."""
PAUSE_MS: Final = 1_000

Left: TypeAlias = tuple[float, float]
"""How many firings are left, and when that was counted, in seconds."""


class FiringRates:
    """The firings of each workspace: a token bucket, which one firing may overdraw."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._left: dict[str, Left] = {}

    def pause_ms(self, workspace: str) -> int:
        """Return how long the triggers of a workspace have to wait; 0 if they may fire."""
        left = self._now(workspace)
        return 0 if left >= 1 else PAUSE_MS + int((1 - left) * 1000 / MOST_PER_S)

    def count(self, workspace: str, firings: int) -> None:
        """Count firings of a workspace."""
        self._left[workspace] = self._now(workspace) - firings, self._clock.monotonic_s()

    def _now(self, workspace: str) -> float:
        left, at_s = self._left.get(workspace, (float(MOST_AT_ONCE), 0.0))
        return min(MOST_AT_ONCE, left + (self._clock.monotonic_s() - at_s) * MOST_PER_S)


def workspace_of_row(row: TriggerRow) -> str:
    """Return the workspace whose definition a trigger starts."""
    return workspace_of(row.descriptor_id)


def in_turn(triggers: Iterable[ActiveTrigger]) -> list[ActiveTrigger]:
    """Return triggers so that workspaces take turns, each in the order of its own."""
    of_one: dict[str, list[ActiveTrigger]] = {}
    for trigger in triggers:
        of_one.setdefault(workspace_of_row(trigger.row), []).append(trigger)
    rounds = chain.from_iterable(zip_longest(*of_one.values()))
    return [each for each in rounds if each is not None]
