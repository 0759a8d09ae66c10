"""A cache of compiled texts, limited by their estimated bytes, in which holders have shares.

Used by `language` and `runtime`.
"""

from collections.abc import Callable
from itertools import islice
from threading import Lock
from typing import Final, Generic, NamedTuple, TypeVar

Value = TypeVar("Value")

PATTERN_BYTES: Final = 1 << 17
"""About the memory of the largest regular expression that is allowed."""
_LOOKED_AT: Final = 64
"""Of more holders that keep about as much, to within a factor of two, only so many are compared."""


class _Kept(NamedTuple):
    """Whose share an entry is in, and its estimated bytes."""

    holder: str
    size_bytes: int


class _Share:
    """The texts of one holder, the oldest first, and their estimated bytes."""

    __slots__ = ("kept_bytes", "texts")

    def __init__(self) -> None:
        self.texts: dict[str, None] = {}
        self.kept_bytes = 0


class BoundedCache(Generic[Value]):
    """Values by their texts; the latest one is always kept.

    A limit of entries would not limit memory, since one may take a thousand times as much as
    another. Each entry is in the share of a holder, which is a workspace. Without room, the oldest
    entry leaves of the holder that keeps most: who uses many in rotation evicts its own, and others
    keep theirs. A look-up knows nothing of it.

    Attributes:
        get: Returns the value of a text, None if there is none; a method of a dictionary, since
            every mapping and every event asks.
        kept_bytes: The estimated bytes of all values.
    """

    __slots__ = (
        "_entries",
        "_kept",
        "_lock",
        "_most_bytes",
        "_ranks",
        "_shares",
        "get",
        "kept_bytes",
    )

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._entries: dict[str, Value] = {}
        self.get: Callable[[str], Value | None] = self._entries.get
        self._kept: dict[str, _Kept] = {}
        self._shares: dict[str, _Share] = {}
        self._ranks: dict[int, dict[str, None]] = {}
        """The holders by the binary digits of their bytes: one that keeps most is found at once."""
        self._lock = Lock()  # threads compile, too
        self.kept_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, text: str, value: Value, size_bytes: int, holder: str = "") -> Value:
        """Keep a value in the share of a holder, and return it."""
        with self._lock:
            if text in self._kept:
                self._drop(text)
            self._entries[text] = value
            self._kept[text] = _Kept(holder, size_bytes)
            share = self._shares.setdefault(holder, _Share())
            share.texts[text] = None
            self._weigh(holder, share, size_bytes)
            while self.kept_bytes > self._most_bytes and len(self._entries) > 1:
                self._drop(self._next_to_leave(text))
        return value

    def _drop(self, text: str) -> None:
        del self._entries[text]
        holder, size_bytes = self._kept.pop(text)
        share = self._shares[holder]
        del share.texts[text]
        self._weigh(holder, share, -size_bytes)
        if not share.texts:
            del self._shares[holder]
            self._leave_rank(holder, 0)

    def _weigh(self, holder: str, share: _Share, more_bytes: int) -> None:
        self.kept_bytes += more_bytes
        before = share.kept_bytes.bit_length()
        share.kept_bytes += more_bytes
        rank = share.kept_bytes.bit_length()
        if rank != before:
            self._leave_rank(holder, before)
        self._ranks.setdefault(rank, {})[holder] = None

    def _leave_rank(self, holder: str, rank: int) -> None:
        holders = self._ranks.get(rank, {})
        holders.pop(holder, None)
        if not holders:
            self._ranks.pop(rank, None)

    def _next_to_leave(self, latest: str) -> str:
        """Return the oldest text of the holder that keeps most, which is not the latest one."""
        if len(self._shares) == 1:
            return next(iter(self._kept))
        for rank in sorted(self._ranks, reverse=True):
            holders = islice(self._ranks[rank], _LOOKED_AT)
            for holder in sorted(holders, key=self._kept_bytes_of, reverse=True):
                for text in self._shares[holder].texts:
                    if text != latest:
                        return text
        raise AssertionError("only the latest one is kept")

    def _kept_bytes_of(self, holder: str) -> int:
        return self._shares[holder].kept_bytes
