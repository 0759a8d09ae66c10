"""Memory for the records that are under way, of all Kafka triggers of a process and of one.

A record is small on its topic, and may be large once it is decoded. It takes room before that, and
gives it back when its executions are on disk. All of this runs in the thread of Kafka.

Used by `gateways/kafka/client.py`.
"""

from collections import Counter
from typing import Final

MOST_BYTES: Final = 64 << 20
MOST_OF_ONE_BYTES: Final = 2 << 20
SMALL_BYTES: Final = 64 << 10
"""A trigger that has nothing under way takes a record of this size in any case."""


class RecordRoom:
    """What the records of all Kafka triggers of a process take, in bytes."""

    def __init__(self) -> None:
        self.taken_bytes = 0


class OwnRoom:
    """The room of one trigger, by lane."""

    def __init__(self, room: RecordRoom) -> None:
        self._room = room
        self._lanes: Counter[int] = Counter()

    def take(self, lane: int, size_bytes: int) -> bool:
        """Take room for a record; False if it has to wait."""
        own_bytes, all_bytes = self._lanes.total(), self._room.taken_bytes
        if own_bytes and own_bytes + size_bytes > MOST_OF_ONE_BYTES:
            return False
        is_first = not own_bytes and (size_bytes <= SMALL_BYTES or not all_bytes)
        if all_bytes + size_bytes > MOST_BYTES and not is_first:
            return False
        self._lanes[lane] += size_bytes
        self._room.taken_bytes += size_bytes
        return True

    @property
    def is_full(self) -> bool:
        """Tell whether no further record is to be fetched."""
        own_bytes, all_bytes = self._lanes.total(), self._room.taken_bytes
        return own_bytes >= MOST_OF_ONE_BYTES or (own_bytes > 0 and all_bytes >= MOST_BYTES)

    def add(self, lane: int, size_bytes: int) -> None:
        """Take more room for a record than was known before, whether or not there is any."""
        if lane in self._lanes:
            self._lanes[lane] += size_bytes
            self._room.taken_bytes += size_bytes

    def give_back(self, lane: int) -> None:
        """Give back what the records of a lane have taken."""
        self._room.taken_bytes -= self._lanes.pop(lane, 0)

    def close(self) -> None:
        """Give back everything."""
        for lane in list(self._lanes):
            self.give_back(lane)
