"""The lease by which one deployment holds a store, and another one learns that it does.

A deployment acquires the lease before it starts anything, and renews it while it runs. One that
finds a lease of another deployment waits until that is renewed, and is refused then, or until it
has lapsed, and takes it. It may also ask the holder to end its actors and to give the lease up.

Used by `actors` and `serve/stack`.
"""

import asyncio
import time
import uuid
from datetime import UTC, datetime
from typing import Final

from msgspec.structs import replace

from rillflow.errors import StoreError
from rillflow.ports.storage.lease import DeploymentName, Lease, Leases
from rillflow.runtime.process.clock import SystemClock

RENEW_S: Final = 3.0
"""Time between two renewals."""
LAPSES_S: Final = 10.0
"""A lease that was not renewed for so long may be taken."""
LOOK_S: Final = 0.2
PATIENCE_S: Final = 120.0
"""How long a holder that was asked to end its actors may take."""


class StoreLease:
    """The lease of a store, as one deployment sees it."""

    def __init__(
        self,
        store: Leases,
        holder: DeploymentName,
        *,
        lapses_s: float = LAPSES_S,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """See the lease of ``store`` as ``holder``."""
        self._store = store
        self._holder = holder
        self._lapses_s = lapses_s
        self._patience_s = patience_s
        self.mark = ""
        """What this process left in the store when it acquired the lease."""

    async def acquire(self, take_over: str = "") -> bool:
        """Hold the lease, or renew it.

        Args:
            take_over: The id of the lease of another deployment, which is asked to end its actors.

        Returns:
            Whether this deployment did not hold it before.

        Raises:
            StoreError: Another deployment holds it, or the store cannot be read or written.
        """
        give_up = time.monotonic() + self._patience_s
        first: Lease | None = None
        while True:
            lease = await self._store.lease()
            if lease is None or self._may_take(lease):
                mark = uuid.uuid4().hex
                if await self._store.set_lease(self._mine(lease, mark), renews=True):
                    self.mark = mark
                    return lease is None or lease.holder != self._holder.id
                continue
            if lease.id == take_over:
                await self._ask(lease)
            elif first is not None and lease.turn != first.turn:
                raise StoreError(_refusal(lease))
            if time.monotonic() > give_up:
                raise StoreError(
                    f"{_held(lease)}, and has not ended its actors within {self._patience_s:g} s"
                )
            first = first or lease
            await asyncio.sleep(LOOK_S)

    async def renew(self) -> Lease:
        """Renew the lease if this deployment holds it, or if there is none; return it.

        Raises:
            StoreError: The store cannot be read or written.
        """
        while True:
            lease = await self._store.lease()
            if lease is not None and lease.holder != self._holder.id:
                return lease
            mine = self._mine(lease, "" if lease is None else lease.mark)
            if await self._store.set_lease(mine, renews=True):
                return mine

    async def give_up(self) -> None:
        """Let any deployment take the lease, if this one holds it.

        Raises:
            StoreError: The store cannot be read or written.
        """
        while (lease := await self._store.lease()) is not None and self.holds(lease):
            given_up = replace(lease, holder="", turn=lease.turn + 1)
            if await self._store.set_lease(given_up, renews=True):
                return

    async def refuse(self, deployed: str) -> None:
        """Remember which deployment may not leave this store, if this one holds the lease.

        Raises:
            StoreError: The store cannot be read or written.
        """
        while (lease := await self._store.lease()) is not None and self.holds(lease):
            if lease.refused == deployed:
                return
            refusing = replace(lease, refused=deployed, turn=lease.turn + 1)
            if await self._store.set_lease(refusing, renews=True):
                return

    async def refused(self) -> str:
        """Return what tells the deployment that was refused last; nothing if none was.

        Raises:
            StoreError: The store cannot be read.
        """
        lease = await self._store.lease()
        return "" if lease is None else lease.refused

    def holds(self, lease: Lease) -> bool:
        """Tell whether a lease is that of this deployment."""
        return lease.holder == self._holder.id

    def _may_take(self, lease: Lease) -> bool:
        is_free = lease.holder in ("", self._holder.id) or lease.place == self._holder.place
        return is_free or lease.silent_s > self._lapses_s

    def _mine(self, lease: Lease | None, mark: str) -> Lease:
        if lease is not None and self.holds(lease):
            return replace(lease, turn=lease.turn + 1, mark=mark)
        return Lease(
            id=uuid.uuid4().hex[:8],
            holder=self._holder.id,
            place=self._holder.place,
            since_ms=SystemClock().now_ms(),
            turn=1 if lease is None else lease.turn + 1,
            mark=mark,
        )

    async def _ask(self, lease: Lease) -> None:
        if lease.successor != self._holder.place:
            asked = replace(lease, successor=self._holder.place, turn=lease.turn + 1)
            await self._store.set_lease(asked, renews=False)


def lost_to(lease: Lease) -> str:
    """Say why a deployment that does not hold this lease runs nothing."""
    if lease.holder:
        return f"{_held(lease)}; nothing runs here until it gives the store up"
    return f"the store was given up for {lease.successor or 'another deployment'}"


def _held(lease: Lease) -> str:
    since = datetime.fromtimestamp(lease.since_ms / 1000, UTC)
    return f"the store is held by {lease.place}, since {since:%Y-%m-%d %H:%M:%S} UTC"


def _refusal(lease: Lease) -> str:
    return (
        f"{_held(lease)}. Two deployments cannot run on one store: end that one, or have it end its"
        f" actors and take over with RILLFLOW_TAKE_OVER={lease.id}"
    )
