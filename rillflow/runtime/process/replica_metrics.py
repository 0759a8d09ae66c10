"""The metrics of Serve replicas, which cannot be queried: each sends its own to one owner.

The owner keeps the minutes that they have told, too, and tells them to the others.

Used by `actors/execution_actor.py`.
"""

from typing import Final

from cachetools import TTLCache

from rillflow.ports.clock import Clock
from rillflow.ports.messages import GetMeters
from rillflow.telemetry.meters import Meters
from rillflow.telemetry.minutes import Minutes, encode_minutes
from rillflow.telemetry.states import ProcessState, encode_states

MOST_REPLICAS: Final = 256
KEPT_S: Final = 60.0
"""A replica that has told nothing for so long has ended."""


class ReplicaMetrics:
    """What each replica has told last."""

    def __init__(self, clock: Clock) -> None:
        self._told = TTLCache[str, ProcessState](MOST_REPLICAS, KEPT_S, clock.monotonic_s)
        self._minutes = Minutes()

    def answer(self, message: GetMeters, own: Meters) -> bytes:
        """Keep what a replica tells, and answer what it asks; ``own`` are those of the owner."""
        if message.replica is not None:
            self.keep(message.replica)
        if message.minutes is not None:
            self._minutes.merge(message.minutes)
            return encode_minutes(self._minutes.kept)
        if not message.asks:
            return encode_states([])
        return encode_states([own.state(), *self.states()])

    def keep(self, state: ProcessState) -> None:
        """Keep what a replica tells, in the place of what it told before."""
        self._told[state.process] = state

    def states(self) -> list[ProcessState]:
        """Return what replicas have told that have not ended."""
        return list(self._told.values())
