"""The lease of a store while an import writes into it, so that no server starts on half of it.

Used by `transfer/importing.py` and `cli/commands`.
"""

import os
import socket
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from rillflow.errors import StoreError
from rillflow.ports.storage.lease import DeploymentName, Lease, decode_lease
from rillflow.runtime.supervision.store_lease import StoreLease
from rillflow.stores import open_store
from rillflow.stores.transfer.session import Session

_LEASE: Final = "SELECT lease FROM lease"


class ImportLease:
    """The lease, which is renewed between commits and looked at within each."""

    def __init__(self, lease: StoreLease, session: Session) -> None:
        self._lease = lease
        self._session = session

    async def renew(self) -> None:
        """Renew the lease.

        Raises:
            StoreError: Another deployment holds it.
        """
        _refuse_lost(self._lease, await self._lease.renew())

    async def check(self) -> None:
        """Check, within a transaction, that nobody has taken the lease.

        Raises:
            StoreError: Another deployment holds it.
        """
        _refuse_lost(self._lease, await lease_of(self._session))


@asynccontextmanager
async def hold_lease(url: str, session: Session) -> AsyncIterator[ImportLease]:
    """Hold the lease of the store that a session writes into.

    Raises:
        StoreError: A server runs on the store.
    """
    store = open_store(url)
    await store.open()
    place = f"rillflow import, process {os.getpid()} of {socket.gethostname()}"
    lease = StoreLease(store, DeploymentName(f"import-{uuid.uuid4().hex}", place))
    try:
        await lease.acquire()
        yield ImportLease(lease, session)
    finally:
        with suppress(StoreError):
            await lease.give_up()
        await store.close()


async def lease_of(session: Session) -> Lease | None:
    """Return the lease that a store has, as it was written last; None without one."""
    rows = await session.rows(_LEASE)
    return decode_lease(rows[0][0], 0.0) if rows else None


def _refuse_lost(mine: StoreLease, lease: Lease | None) -> None:
    if lease is None or not mine.holds(lease):
        place = "another deployment" if lease is None else lease.place or "another deployment"
        raise StoreError(f"the store was taken over by {place} during the import")
