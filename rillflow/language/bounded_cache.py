"""A cache of compiled texts, limited by their estimated bytes."""

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
        kept_bytes: The estimated bytes of all values.
    """

    __slots__ = ("_entries", "_lock", "_most_bytes", "_sizes", "kept_bytes")

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._entries: dict[str, Value] = {}
        self._sizes: dict[str, int] = {}
        self._lock = Lock()  # threads compile, too
        self.kept_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, text: str) -> Value | None:
        """Return the value of a text."""
        return self._entries.get(text)

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
