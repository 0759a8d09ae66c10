"""Triggers of the memory store.

Used by `stores/memory/store.py`.
"""

from collections.abc import Collection, Sequence

import msgspec

from rillflow.ports.triggers import (
    KEPT_REMOVED_MS,
    TriggerProgress,
    TriggerRow,
    TriggerUse,
)
from rillflow.stores.memory.journal import MemoryLifecycle
from rillflow.stores.sql.triggers import gone, is_same, may_put


class MemoryTriggers(MemoryLifecycle):
    """Triggers; see the ``Triggers`` port."""

    def __init__(self) -> None:
        super().__init__()
        self._triggers: dict[str, tuple[TriggerRow, str]] = {}
        self._trigger_revision = 0
        self._next_trigger = 1

    async def put_trigger(
        self, trigger: TriggerRow, context: str, *, replace: bool
    ) -> TriggerRow | None:
        """Keep a trigger; None if there is one of this id, and it may not be replaced."""
        self._check_open()
        found = self._alive(trigger.id) if trigger.id else None
        if not may_put(None if found is None else found[0], trigger, replace=replace):
            return None
        trigger_id = trigger.id
        while not trigger_id or (not trigger.id and self._alive(trigger_id) is not None):
            trigger_id, self._next_trigger = str(self._next_trigger), self._next_trigger + 1
        row = self._keep(msgspec.structs.replace(trigger, id=trigger_id), context)
        oldest_ms = row.created_at_ms - KEPT_REMOVED_MS
        for old, _ in list(self._triggers.values()):
            if old.is_removed and old.created_at_ms < oldest_ms:
                del self._triggers[old.id]
        return row

    async def sync_triggers(
        self, owner: str, triggers: Sequence[tuple[TriggerRow, str]], *, at_ms: int
    ) -> list[str]:
        """Make these the triggers of a definition; return ids that others have taken."""
        self._check_open()
        found = [(row.id, self._alive(row.id)) for row, _ in triggers]
        taken = [each for each, stored in found if stored and stored[0].owner != owner]
        if taken:
            return taken
        declared = [row for row, _ in self._all() if row.owner == owner]
        for trigger_id in gone(declared, [row.id for row, _ in triggers]):
            await self.remove_trigger(trigger_id, at_ms=at_ms)
        for row, context in triggers:
            stored = self._alive(row.id)
            if stored is None or not is_same(*stored, row, context):
                self._keep(row, context)
        return []

    async def remove_declared_triggers(self, *names: str, at_ms: int) -> None:
        """Remove all triggers that definitions of a business, or of its feature, declare."""
        for row, _ in self._all():
            if row.owner.startswith(f"{':'.join(names)}:"):
                await self.remove_trigger(row.id, at_ms=at_ms)

    async def pause_trigger(self, trigger_id: str, *, is_paused: bool, at_ms: int) -> bool:
        """Pause or resume a trigger; False if there is none."""
        self._check_open()
        stored = self._alive(trigger_id)
        if stored is None:
            return False
        row, context = stored
        position_ms = row.position_ms if is_paused else max(row.position_ms, at_ms)
        self._keep(
            msgspec.structs.replace(row, is_paused=is_paused, position_ms=position_ms), context
        )
        return True

    async def remove_trigger(self, trigger_id: str, *, at_ms: int) -> bool:
        """Remove a trigger; False if there was none."""
        self._check_open()
        stored = self._alive(trigger_id)
        if stored is None:
            return False
        # Nobody reads when a removed one was created: that is when it was removed.
        removed = msgspec.structs.replace(
            stored[0], is_removed=True, spec="{}", created_at_ms=at_ms
        )
        self._keep(removed, "")
        return True

    async def trigger(self, trigger_id: str) -> tuple[TriggerRow, str] | None:
        """Read a trigger with its context; None if there is none."""
        self._check_open()
        return self._alive(trigger_id)

    async def triggers_now(self, ids: Sequence[str]) -> dict[str, tuple[TriggerRow, str]]:
        """Read triggers with their contexts."""
        self._check_open()
        found = ((each, self._alive(each)) for each in ids)
        return {each: stored for each, stored in found if stored is not None}

    async def list_triggers(
        self,
        *,
        kind: str | None = None,
        owner: str | None = None,
        workspaces: Collection[str] = (),
        after: str = "",
        limit: int,
    ) -> list[TriggerRow]:
        """List triggers by id, beginning after one."""
        found = [
            row
            for row, _ in self._all()
            if kind in {None, row.type} and owner in {None, row.owner} and row.id > after
            if not workspaces or row.descriptor_id.partition(":")[0] in workspaces
        ]
        return sorted(found, key=lambda row: row.id)[:limit]

    async def newest_trigger_revision(self) -> int:
        """Return the revision of the last change of any trigger."""
        self._check_open()
        return self._trigger_revision

    async def changed_triggers(self, after_revision: int, *, limit: int) -> list[TriggerRow]:
        """List triggers that were changed, also removed ones, by revision."""
        self._check_open()
        rows = (row for row, _ in self._triggers.values() if row.revision > after_revision)
        return sorted(rows, key=lambda row: row.revision)[:limit]

    async def note_trigger_progress(self, progress: Sequence[TriggerProgress]) -> None:
        """Keep how far triggers have come; a position that is further is kept."""
        self._check_open()
        for each in progress:
            stored = self._triggers.get(each.id)
            if stored is not None and stored[0].position_ms <= each.position_ms:
                row = msgspec.structs.replace(
                    stored[0], position_ms=each.position_ms, progress=each.progress
                )
                self._triggers[each.id] = row, stored[1]

    async def trigger_use(self, workspace: str = "", *, besides: str = "") -> TriggerUse:
        """Return what all triggers take, and those of a workspace."""
        found = [
            (row.descriptor_id.startswith(f"{workspace}:"), row.bytes_with(context))
            for row, context in self._all()
            if not row.owner or row.owner != besides
        ]
        own = [size for is_own, size in found if is_own]
        return TriggerUse(
            triggers=len(found),
            bytes=sum(size for _, size in found),
            triggers_of_one=len(own),
            bytes_of_one=sum(own),
        )

    def _all(self) -> list[tuple[TriggerRow, str]]:
        self._check_open()
        return [each for each in self._triggers.values() if not each[0].is_removed]

    def _alive(self, trigger_id: str) -> tuple[TriggerRow, str] | None:
        stored = self._triggers.get(trigger_id)
        return None if stored is None or stored[0].is_removed else stored

    def _keep(self, row: TriggerRow, context: str) -> TriggerRow:
        self._trigger_revision += 1
        kept = msgspec.structs.replace(row, revision=self._trigger_revision)
        self._triggers[row.id] = kept, context
        return kept
