"""The API keys of the memory store.

Used by `stores/memory/store.py`.
"""

import msgspec

from rillflow.ports.api_keys import ApiKey
from rillflow.stores.memory.journal import MemoryLifecycle


class MemoryApiKeys(MemoryLifecycle):
    """The keys by name; see the ``ApiKeys`` port."""

    def __init__(self) -> None:
        super().__init__()
        self._api_keys: dict[str, ApiKey] = {}

    async def add_api_key(self, key: ApiKey, *, most: int) -> bool:
        """Keep a key, if its name is free and there is room."""
        self._check_open()
        if key.name in self._api_keys or len(self._api_keys) >= most:
            return False
        self._api_keys[key.name] = key
        return True

    async def api_keys(self) -> list[ApiKey]:
        """List all keys by name."""
        self._check_open()
        return [self._api_keys[name] for name in sorted(self._api_keys)]

    async def revoke_api_key(self, name: str, *, at_ms: int) -> bool:
        """Revoke a key."""
        self._check_open()
        key = self._api_keys.get(name)
        if key is None:
            return False
        if key.revoked_at_ms is None:
            self._api_keys[name] = msgspec.structs.replace(key, revoked_at_ms=at_ms)
        return True
