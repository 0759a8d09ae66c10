"""The lease of the store of a local stack, renewed in a thread while the stack runs.

Used by `serve/stack/standalone.py`.
"""

import asyncio
import logging
import socket
import threading

from rillflow.errors import StoreError
from rillflow.ports.storage.lease import DeploymentName
from rillflow.runtime.supervision.store_lease import RENEW_S, StoreLease, lost_to
from rillflow.settings import Settings
from rillflow.stores import open_store

log = logging.getLogger("rillflow.standalone")


def holder_of(settings: Settings) -> DeploymentName:
    """Return who a local stack is; one that starts again on its data folder is the same one."""
    place = f"rillflow up on {socket.gethostname()}, data folder {settings.data_dir.resolve()}"
    return DeploymentName(place, place)


class LeaseThread:
    """Renews the lease until it is lost, or the stack stops and gives it up."""

    def __init__(self, settings: Settings) -> None:
        """Start; the lease has been acquired."""
        self._settings = settings
        self._stopped = threading.Event()
        self._loses = ""
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._thread.start()

    @property
    def loses(self) -> str:
        """Why this stack must end; empty while it holds the store."""
        return self._loses

    def stop(self) -> None:
        """Give the lease up, and return once the store is closed."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._hold())
        except StoreError as error:
            log.warning("lease_not_given_up", extra={"reason": str(error)})

    async def _hold(self) -> None:
        store = open_store(self._settings.store_url)
        await store.open()
        lease = StoreLease(store, holder_of(self._settings))
        try:
            while not await asyncio.to_thread(self._stopped.wait, RENEW_S):
                await self._renew(lease)
            await lease.give_up()
        finally:
            await store.close()

    async def _renew(self, lease: StoreLease) -> None:
        try:
            held = await lease.renew()
        except StoreError as error:
            log.warning("lease_not_renewed", extra={"reason": str(error)})
            return
        if held.successor:
            self._loses = f"{held.successor} takes the store over"
        elif not lease.holds(held):
            self._loses = lost_to(held)
