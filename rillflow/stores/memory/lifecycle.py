"""Opening and closing the memory store: calls are refused while it is not open.

Used by `stores/memory/catalogue.py`, `stores/memory/deployments.py` and `stores/memory/journal.py`.
"""

from rillflow.errors import StoreError


class MemoryLifecycle:
    """The state that the two halves of the memory store share."""

    def __init__(self) -> None:
        self._is_open = False

    async def open(self) -> None:
        """Allow calls; data from before a ``close()`` are still there."""
        self._is_open = True

    async def close(self) -> None:
        """Refuse calls from now on."""
        self._is_open = False

    async def probe(self) -> None:
        """Refuse when closed; otherwise memory accepts every write."""
        self._check_open()

    def _check_open(self) -> None:
        if not self._is_open:
            raise StoreError("the store is closed")
