"""The API keys and the audit of the memory store.

Used by `stores/memory/store.py`.
"""

from collections.abc import Sequence
from itertools import islice

import msgspec

from rillflow.ports.storage.access import ApiKey, AuditEntry, NumberedEntry
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


class MemoryAudit(MemoryLifecycle):
    """The entries by number; see the ``Audit`` port."""

    def __init__(self) -> None:
        super().__init__()
        self._audit: list[NumberedEntry] = []
        self._audited = 0

    async def note_audit(self, entries: Sequence[AuditEntry]) -> None:
        """Add entries."""
        self._check_open()
        for each in entries:
            self._audited += 1
            self._audit.append(NumberedEntry(self._audited, each))

    async def audit_entries(
        self, *, before: int | None = None, workspaces: Sequence[str] = (), limit: int
    ) -> list[NumberedEntry]:
        """List entries, the newest first."""
        self._check_open()
        wanted = (
            each
            for each in reversed(self._audit)
            if (before is None or each.number < before)
            and (not workspaces or each.entry.workspace in workspaces)
        )
        return list(islice(wanted, limit))

    async def trim_audit(self, *, before_ms: int, limit: int) -> int:
        """Remove old entries."""
        self._check_open()
        old = list(islice((each for each in self._audit if each.entry.at_ms < before_ms), limit))
        self._audit = [each for each in self._audit if each not in old]
        return len(old)
