"""The leases of the memory store.

Used by `stores/memory/store.py`.
"""

import time

from rillflow.ports.storage.lease import Lease, OwnerLease, decode_lease, encode_lease
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


class MemoryOwnerLeases(MemoryLifecycle):
    """The leases by name; see the ``OwnerLeases`` port."""

    def __init__(self) -> None:
        super().__init__()
        self._owner_leases: dict[str, OwnerLease] = {}

    async def take_owner_lease(self, name: str, life: str) -> None:
        """Give the lease of a name to a process."""
        self._check_open()
        self._owner_leases[name] = OwnerLease(name, life, 0)

    async def renew_owner_lease(self, name: str, life: str) -> bool:
        """Renew a lease, if this process has it."""
        self._check_open()
        lease = self._owner_leases.get(name)
        if lease is None or lease.life != life:
            return False
        self._owner_leases[name] = lease._replace(renewals=lease.renewals + 1)
        return True

    async def owner_leases(self) -> list[OwnerLease]:
        """Return all leases by name."""
        self._check_open()
        return sorted(self._owner_leases.values())
