"""What was made of texts, kept within a bound of estimated bytes."""

from threading import Lock
from typing import Final, Generic, TypeVar

Value = TypeVar("Value")

PATTERN_BYTES: Final = 1 << 17
"""About what a regular expression of the largest program that is allowed takes."""


class BoundedCache(Generic[Value]):
    """Values by their texts; the oldest leave first, and the latest stays whatever its size.

    A number of entries would be no bound, since one may take a thousand times as much as another.

    Attributes:
        kept_bytes: What is kept, by the estimates.
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
        """Return what is kept of a text."""
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
