"""Takes the lease of an execution actor, and renews it in a thread of its own.

A process that is stopped renews nothing, while one whose event loop is busy does. So a long turn of
the loop costs an owner nothing.

Used by `actors/execution_actor.py`.
"""

import asyncio
import logging
import threading
from collections.abc import Callable

from rillflow.errors import StoreError
from rillflow.ports.storage.lease import OwnerLeases
from rillflow.ports.storage.store import Store
from rillflow.runtime.aio.retrying import retry_while_unavailable
from rillflow.runtime.supervision.signs_of_life import RENEW_S

log = logging.getLogger("rillflow.owner_lease")


async def renewed_lease(
    leases: OwnerLeases,
    open_store: Callable[[], Store],
    holder: tuple[str, str],
    *,
    lost: Callable[[], None],
) -> None:
    """Take a lease, and begin to renew it until another process has taken it.

    Args:
        leases: Where it is taken.
        open_store: Returns a store for the thread that renews, which is not open yet.
        holder: The name of the actor, and which of its processes this one is.
        lost: Called in the event loop of the caller when another process has the lease.

    Raises:
        StoreError: The store cannot be written.
    """
    await leases.take_owner_lease(*holder)
    loop = asyncio.get_running_loop()

    def renew() -> None:
        asyncio.run(_until_lost(open_store, *holder))
        log.warning("owner_lease_lost", extra={"actor": holder[0]})
        loop.call_soon_threadsafe(lost)

    threading.Thread(target=renew, name="owner-lease", daemon=True).start()


async def _until_lost(open_store: Callable[[], Store], name: str, life: str) -> None:
    """Renew a lease until another process has it, whatever happens.

    An actor whose lease stands still would be replaced at the next long turn of its event loop.
    """
    while True:
        try:
            return await _renew_until_lost(open_store(), name, life)
        except Exception:
            log.exception("lease_renewal_failed", extra={"actor": name})
            await asyncio.sleep(RENEW_S)


async def _renew_until_lost(store: Store, name: str, life: str) -> None:
    await retry_while_unavailable(store.open)
    try:
        is_told = False
        while True:
            try:
                if not await store.renew_owner_lease(name, life):
                    return
                is_told = False
            except StoreError as error:
                if not is_told:
                    facts = {"actor": name, "reason": str(error)}
                    log.warning("owner_lease_not_renewed", extra=facts)
                is_told = True
            await asyncio.sleep(RENEW_S)
    finally:
        await store.close()
