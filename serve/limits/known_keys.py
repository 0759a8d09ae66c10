"""The API keys by name, as this replica knows them.

The store has them for all replicas. They are read at most once a second, and only while somebody
shows such a key. So a key works at once when it is made, and ends within a second when it is
revoked.

Used by `serve/api.py`, `serve/middleware` and `serve/routes`.
"""

import asyncio
import logging
from typing import Final, NamedTuple

from rillflow.errors import StoreError
from rillflow.ports.clock import Clock
from rillflow.ports.storage.access import ApiKey, ApiKeys, Holder, Quota
from serve.limits.callers import Caller
from serve.route_table import Role

log = logging.getLogger("rillflow.api")

HELD: Final = "rillflow.held_key"
"""The key of a request's scope under which its ``HeldKey`` is, if its caller has a named one."""
NO_QUOTA: Final = Quota()
FRESH_S: Final = 1.0
"""How long a key that was revoked at another replica may be used here."""
READ_S: Final = 2.0
"""After so long what was read before counts on."""
STALE_S: Final = 30.0
"""How long it counts while the store does not answer."""


class KnownKeys:
    """The keys of the store, by their hashes."""

    def __init__(self, store: ApiKeys, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._by_digest: dict[str, ApiKey] = {}
        self._by_id: dict[str, ApiKey] = {}
        self._read_s: float | None = None
        self._changed_s = float("-inf")
        self._reading: asyncio.Task[None] | None = None

    async def by_digest(self, digest: str) -> Caller | None:
        """Return who has a key, by its hash; None if it may not be used.

        Raises:
            StoreError: It is not known which keys there are.
        """
        await self._refresh()
        return self._caller(self._by_digest.get(digest))

    async def by_id(self, key_id: str) -> Caller | None:
        """Return who has a key, by its id; None if it may not be used.

        Raises:
            StoreError: It is not known which keys there are.
        """
        await self._refresh()
        return self._caller(self._by_id.get(key_id))

    def forget(self) -> None:
        """Read the keys again before the next one is looked up: they have changed."""
        self._changed_s = self._clock.monotonic_s()
        self._reading = None

    def _caller(self, key: ApiKey | None) -> Caller | None:
        if key is None or not key.is_valid(self._clock.now_ms()):
            return None
        role = Role[key.role.upper()]
        holder = None if key.quota == NO_QUOTA else Holder(key.key_id, key.name, key.quota)
        workspaces = frozenset(key.workspaces)
        return Caller(key.name, key.key_id, role, workspaces, holder, key.audits_submissions)

    async def _refresh(self) -> None:
        age_s = self._age_s()
        if age_s is not None and age_s < FRESH_S and (self._read_s or 0) >= self._changed_s:
            return
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read(), name="api-keys")
        reading = self._reading
        await asyncio.wait({reading}, timeout=READ_S)
        age_s = self._age_s()
        if age_s is None or age_s > STALE_S:
            raise StoreError("the store does not tell which API keys there are")

    def _age_s(self) -> float | None:
        return None if self._read_s is None else self._clock.monotonic_s() - self._read_s

    async def _read(self) -> None:
        asked_s = self._clock.monotonic_s()
        try:
            found = await self._store.api_keys()
        except StoreError as error:
            log.warning("api_keys_not_read", extra={"reason": str(error)})
            return
        self._by_digest = {key.digest: key for key in found}
        self._by_id = {key.key_id: key for key in found}
        self._read_s = asked_s


class HeldKey(NamedTuple):
    """The named key of the caller of a request that may last."""

    keys: KnownKeys
    key_id: str

    async def is_valid(self) -> bool:
        """Tell whether it may still be used; while that is not known, it may."""
        try:
            return await self.keys.by_id(self.key_id) is not None
        except StoreError:
            return True

    async def until_over(self) -> None:
        """Return when it may not be used any more, within a second or so."""
        while await self.is_valid():  # noqa: ASYNC110 - the store tells nobody by itself
            await asyncio.sleep(FRESH_S)
