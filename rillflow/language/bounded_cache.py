"""A cache of compiled texts, limited by their estimated bytes.

Used by `language` and `runtime`.
"""

from collections.abc import Callable
from threading import Lock
from typing import Final, Generic, TypeVar

Value = TypeVar("Value")

PATTERN_BYTES: Final = 1 << 17
"""About the memory of the largest regular expression that is allowed."""


class BoundedCache(Generic[Value]):
    """Values by their texts; the oldest are dropped first, and the latest one is always kept.

    A limit of entries would not limit memory, since one may take a thousand times as much as
    another.

    Attributes:
        get: Returns the value of a text, None if there is none; a method of a dictionary, since
            every mapping and every event asks.
        kept_bytes: The estimated bytes of all values.
    """

    __slots__ = ("_entries", "_lock", "_most_bytes", "_sizes", "get", "kept_bytes")

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._entries: dict[str, Value] = {}
        self.get: Callable[[str], Value | None] = self._entries.get
        self._sizes: dict[str, int] = {}
        self._lock = Lock()  # threads compile, too
        self.kept_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, text: str, value: Value, size_bytes: int) -> Value:
        """Keep a value, and return it."""
        with self._lock:
            self.kept_bytes += size_bytes - self._sizes.pop(text, 0)
            self._entries.pop(text, None)
            self._entries[text] = value
            self._sizes[text] = size_bytes
            while self.kept_bytes > self._most_bytes and len(self._entries) > 1:
                oldest = next(iter(self._sizes))
                self.kept_bytes -= self._sizes.pop(oldest)
                del self._entries[oldest]
        return value
