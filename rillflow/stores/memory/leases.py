"""The lease of the memory store.

Used by `stores/memory/store.py`.
"""

import time

from rillflow.ports.lease import Lease, decode_lease, encode_lease
from rillflow.stores.memory.journal import MemoryLifecycle


class MemoryLeases(MemoryLifecycle):
    """The one lease; see the ``Leases`` port."""

    def __init__(self) -> None:
        super().__init__()
        self._lease: tuple[str, float] | None = None

    async def lease(self) -> Lease | None:
        """Return the lease; None before the first."""
        self._check_open()
        if self._lease is None:
            return None
        text, renewed_s = self._lease
        return decode_lease(text, time.monotonic() - renewed_s)

    async def set_lease(self, lease: Lease, *, renews: bool) -> bool:
        """Keep a lease, if it is the next one."""
        stored = await self.lease()
        if (stored.turn if stored else 0) + 1 != lease.turn:
            return False
        renewed_s = self._lease[1] if self._lease is not None and not renews else time.monotonic()
        self._lease = encode_lease(lease), renewed_s
        return True
