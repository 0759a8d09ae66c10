"""The memory of a dispatcher's Ray calls for large inputs, which the object store holds.

Used by `ray_tasks/limits/task_queue.py` and `ray_tasks/gateway.py`.
"""

from collections import Counter
from typing import Final

SHARES: Final = 4
"""One part of so many is left to others by a workspace, whose calls may wait for ever."""


class InputRoom:
    """Counts the bytes of the large inputs of calls that have begun.

    There is room for another one while they are below the limit, which a single one may exceed.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._held_bytes = 0
        self._held: Counter[str] = Counter()

    def has_room(self, workspace: str) -> bool:
        """Tell whether a call of a workspace with a large input may begin."""
        most_of_one = self._most - self._most // SHARES
        return self._held_bytes < self._most and self._held[workspace] < most_of_one

    def enter(self, size_bytes: int, workspace: str) -> None:
        """Count an input."""
        self._held_bytes += size_bytes
        self._held[workspace] += size_bytes

    def leave(self, size_bytes: int, workspace: str) -> None:
        """Count an input no more."""
        self._held_bytes -= size_bytes
        self._held[workspace] -= size_bytes
        if not self._held[workspace]:
            del self._held[workspace]
