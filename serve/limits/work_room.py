"""The bytes of large bodies that have arrived, while they are read and their executions started.

A body that has arrived waits for its turn to be parsed, and for the store. So many of them at once
would fill a replica, however few each sender may have at the same time. Nothing can be taken back
from a body that is worked on, so each owner has a fixed part of the bytes: half of them.

Used by `serve/limits` and `serve/routes/hot.py`.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rillflow.errors import OverloadedError

SMALL_BYTES: Final = 16 << 10
"""Smaller bodies do not count: their number is limited elsewhere, or they are read at once."""
UNAVAILABLE: Final = 503


class WorkRoom:
    """Room for the bodies that are worked on at once.

    Args:
        most_bytes: What they may have together, and half of it those of one owner.
        what: What they are, for the refusal.
    """

    def __init__(self, most_bytes: int, what: str) -> None:
        self._most, self._what = most_bytes, what
        self._bytes = 0
        self._of: Counter[str] = Counter()

    @contextmanager
    def hold(self, owners: tuple[str, ...], size_bytes: int) -> Iterator[None]:
        """Hold room for a body of these owners; one always may be worked on.

        Raises:
            OverloadedError: Others take all of it, or one of its owners a half (503).
        """
        taken = 0 if size_bytes <= SMALL_BYTES else size_bytes
        if taken and not self._fits(owners, taken):
            raise OverloadedError(
                f"too many large {self._what} are being read",
                http_status=UNAVAILABLE,
                hint=f"they may have {self._most} bytes together, and a half of it those of one"
                " workspace, key or execution",
            )
        self._count(owners, taken)
        try:
            yield
        finally:
            self._count(owners, -taken)

    def _fits(self, owners: tuple[str, ...], taken: int) -> bool:
        if self._bytes and self._bytes + taken > self._most:
            return False
        held = (self._of[owner] for owner in owners)
        return not any(own and own + taken > self._most // 2 for own in held)

    def _count(self, owners: tuple[str, ...], taken: int) -> None:
        if not taken:
            return
        self._bytes += taken
        for owner in owners:
            self._of[owner] += taken
            if not self._of[owner]:
                del self._of[owner]
