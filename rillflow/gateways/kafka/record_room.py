"""Memory for the records that are under way, of all Kafka triggers of a process and of one.

A record is small on its topic, and may be large once it is decoded. It takes room before that, and
gives it back when its executions are on disk. That may take as long as their author likes, so no
workspace takes the room of another: each has a half, and each trigger one record of ordinary size
in any case. All of this runs in the thread of Kafka.

Used by `gateways/kafka/client.py`.
"""

from collections import Counter
from typing import Final

MOST_BYTES: Final = 64 << 20
MOST_OF_WORKSPACE_BYTES: Final = MOST_BYTES // 2
MOST_OF_ONE_BYTES: Final = 2 << 20
"""What one trigger takes, unless a single record takes more."""
FIRST_BYTES: Final = MOST_OF_ONE_BYTES
"""A trigger that has nothing under way takes a record of this size in any case; it does not count
for the room of all."""


class RecordRoom:
    """What the records of all Kafka triggers of a process take, in bytes, by workspace."""

    def __init__(self) -> None:
        self.taken_bytes = Counter[str]()

    def has(self, workspace: str, size_bytes: int) -> bool:
        """Tell whether there is room for a record; a single one may be larger than the half."""
        own_bytes = self.taken_bytes[workspace]
        if own_bytes and own_bytes + size_bytes > MOST_OF_WORKSPACE_BYTES:
            return False
        # What a workspace has beyond its half is no loss to the others.
        with_it = self.taken_bytes + Counter({workspace: size_bytes})
        counted = (min(each, MOST_OF_WORKSPACE_BYTES) for each in with_it.values())
        return sum(counted) <= MOST_BYTES

    def add(self, workspace: str, size_bytes: int) -> None:
        """Take room, or give it back."""
        self.taken_bytes[workspace] += size_bytes
        if not self.taken_bytes[workspace]:
            del self.taken_bytes[workspace]


class OwnRoom:
    """The room of one trigger, by partition."""

    def __init__(self, room: RecordRoom, workspace: str = "") -> None:
        self._room = room
        self.workspace = workspace
        """The workspace of the trigger."""
        self._partitions: Counter[int] = Counter()
        self._counted: Counter[int] = Counter()
        """What of it counts for the room of all."""

    def take(self, partition: int, size_bytes: int) -> bool:
        """Take room for a record; False if it has to wait."""
        own_bytes = self._partitions.total()
        if own_bytes and own_bytes + size_bytes > MOST_OF_ONE_BYTES:
            return False
        if not own_bytes and size_bytes <= FIRST_BYTES:
            self._partitions[partition] += size_bytes
            return True
        if not self._room.has(self.workspace, size_bytes):
            return False
        self._count(partition, size_bytes)
        return True

    @property
    def is_full(self) -> bool:
        """Tell whether no further record is to be fetched."""
        own_bytes = self._partitions.total()
        return own_bytes >= MOST_OF_ONE_BYTES or (
            own_bytes > 0 and not self._room.has(self.workspace, 1)
        )

    def add(self, partition: int, size_bytes: int) -> None:
        """Take more room for a record than was known before, whether or not there is any."""
        if partition in self._partitions:
            self._count(partition, size_bytes)

    def give_back(self, partition: int) -> None:
        """Give back what the records of a partition have taken."""
        self._partitions.pop(partition, 0)
        self._room.add(self.workspace, -self._counted.pop(partition, 0))

    def close(self) -> None:
        """Give back everything."""
        for partition in list(self._partitions):
            self.give_back(partition)

    def _count(self, partition: int, size_bytes: int) -> None:
        self._partitions[partition] += size_bytes
        self._counted[partition] += size_bytes
        self._room.add(self.workspace, size_bytes)
