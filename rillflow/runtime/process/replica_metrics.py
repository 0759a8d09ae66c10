"""The metrics of Serve replicas, which cannot be queried: each sends its own to one owner.

Used by `actors/execution_actor.py`.
"""

from typing import Final

from cachetools import TTLCache

from rillflow.ports.clock import Clock
from rillflow.telemetry.states import ProcessState

MOST_REPLICAS: Final = 256
KEPT_S: Final = 60.0
"""A replica that has told nothing for so long has ended."""


class ReplicaMetrics:
    """What each replica has told last."""

    def __init__(self, clock: Clock) -> None:
        self._told = TTLCache[str, ProcessState](MOST_REPLICAS, KEPT_S, clock.monotonic_s)

    def keep(self, state: ProcessState) -> None:
        """Keep what a replica tells, in the place of what it told before."""
        self._told[state.process] = state

    def states(self) -> list[ProcessState]:
        """Return what replicas have told that have not ended."""
        return list(self._told.values())
