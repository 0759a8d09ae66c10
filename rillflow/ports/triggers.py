"""Triggers, as a store keeps them: what starts executions, and how far each has come (spec 7.1)."""

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

KEPT_REMOVED_MS: Final = 86_400_000
"""How long the row of a removed trigger tells the owners of partitions that it is gone."""


class TriggerRow(msgspec.Struct, frozen=True, kw_only=True):
    """A trigger without its context.

    Attributes:
        id: Unique among all triggers.
        type: What fires it: ``cron``, ``kafka`` or ``webhook``.
        descriptor_id: Which definition it starts.
        owner: ``business:feature:alias`` of the definition that declares it; else empty.
        spec: JSON text with the rest of what its author wrote, without the context.
        is_paused: Whether it fires nothing now.
        is_removed: Whether only its row is left.
        revision: Grows with each change of any trigger; that of the last change of this one.
        created_at_ms: When it was added.
        position_ms: Scheduled times up to here are dealt with.
        progress: JSON text of what it has done; the store does not read it.
    """

    id: str
    type: str
    descriptor_id: str
    owner: str = ""
    spec: str = "{}"
    is_paused: bool = False
    is_removed: bool = False
    revision: int = 0
    created_at_ms: int = 0
    position_ms: int = 0
    progress: str = "{}"

    def bytes_with(self, context: str) -> int:
        """Return the bytes of all parts whose length callers choose, and of the context."""
        return len(f"{self.id}{self.descriptor_id}{self.spec}{context}".encode())


class TriggerProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a trigger has come; written over what is stored unless that is further."""

    id: str
    position_ms: int
    progress: str


class TriggerUse(msgspec.Struct, frozen=True, kw_only=True):
    """What the triggers of a store take: all together, and those of one workspace."""

    triggers: int
    bytes: int
    triggers_of_one: int = 0
    bytes_of_one: int = 0


class Triggers(Protocol):
    """The triggers of a store."""

    async def put_trigger(
        self, trigger: TriggerRow, context: str, *, replace: bool
    ) -> TriggerRow | None:
        """Store a trigger, durably; the store sets its revision.

        Args:
            trigger: The trigger. An empty ``id`` gets the next number, as text.
            context: JSON text of the data that it submits.
            replace: Whether a trigger of this id may be there already.

        Returns:
            The row as it is stored; None if there is one of this id already.
        """
        ...

    async def sync_triggers(
        self, owner: str, triggers: Sequence[tuple[TriggerRow, str]], *, at_ms: int
    ) -> list[str]:
        """Make these, with their contexts, the triggers that a definition declares.

        Those that it declared before, and that are not among them, are removed. One that is the
        same as before keeps its progress, and stays paused if it is.

        Returns:
            Ids that are taken by triggers that others own; if there is one, nothing was written.
        """
        ...

    async def pause_trigger(self, trigger_id: str, *, is_paused: bool, at_ms: int) -> bool:
        """Pause or resume a trigger; times before the resumption are dealt with then.

        Returns:
            Whether there is such a trigger.
        """
        ...

    async def remove_trigger(self, trigger_id: str, *, at_ms: int) -> bool:
        """Remove a trigger; its row is kept for a day, without its context.

        Returns:
            Whether there was such a trigger.
        """
        ...

    async def trigger(self, trigger_id: str) -> tuple[TriggerRow, str] | None:
        """Read a trigger with its context; None if there is none, or it is removed."""
        ...

    async def triggers_now(self, ids: Sequence[str]) -> dict[str, tuple[TriggerRow, str]]:
        """Read triggers with their contexts; those that are not there are left out."""
        ...

    async def list_triggers(
        self, *, kind: str | None = None, owner: str | None = None, after: str = "", limit: int
    ) -> list[TriggerRow]:
        """List triggers by id, beginning after one."""
        ...

    async def newest_trigger_revision(self) -> int:
        """Return the revision of the last change of any trigger; 0 before the first."""
        ...

    async def changed_triggers(self, after_revision: int, *, limit: int) -> list[TriggerRow]:
        """List triggers that were changed, also removed ones, by revision."""
        ...

    async def note_trigger_progress(self, progress: Sequence[TriggerProgress]) -> None:
        """Store how far triggers have come; a position that is further is kept as it is."""
        ...

    async def trigger_use(self, workspace: str = "", *, besides: str = "") -> TriggerUse:
        """Return what all triggers take, and what those take that start what is in a workspace.

        Those that the alias ``besides`` declares do not count.
        """
        ...
