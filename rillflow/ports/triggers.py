"""Triggers, as a store keeps them, and types of triggers: what starts executions (spec 7.1).

Kafka is a type. Installed packages add others by an entry point of the group
``rillflow.triggers``, whose value is an instance of ``TriggerType``, or a class of one.

Used by `gateways`, `ports`, `runtime` and `stores`.
"""

from collections.abc import Collection, Coroutine, Sequence
from typing import Any, Final, Protocol, runtime_checkable

import msgspec

from rillflow.jsontypes import JsonObject

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
            replace: Whether a trigger of this id, of the same workspace, may be there already.

        Returns:
            The row as it is stored; None if there is one of this id that it may not replace.
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

    async def remove_declared_triggers(self, *names: str, at_ms: int) -> None:
        """Remove all triggers that definitions of a business, or of its feature, declare.

        Args:
            names: The business, and the feature if only its triggers are to be removed.
            at_ms: When.
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
        self,
        *,
        kind: str | None = None,
        owner: str | None = None,
        workspaces: Collection[str] = (),
        after: str = "",
        limit: int,
    ) -> list[TriggerRow]:
        """List triggers by id, beginning after one.

        Args:
            kind: Their type; None for any.
            owner: The alias that declares them; None for any.
            workspaces: Those whose definitions they start; none are all.
            after: The id after which the list begins.
            limit: How many are listed at most.
        """
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


class TriggerEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened, and starts an execution.

    Attributes:
        key: The same for the same event, whoever reads it and how often: it starts one execution.
        context: The data of the execution, over those of the trigger; None if it starts none.
        ordering_key: Events with the same one start their executions in order, others meanwhile.
        problem: Why no execution can be made of it; empty if one can.
        position: What the source needs to acknowledge it.
        traceparent: The header of that name, if whoever has sent the event has sent one.
    """

    key: str
    context: JsonObject | None = None
    ordering_key: str = ""
    problem: str = ""
    position: Any = None
    traceparent: str | None = None


class EventSource(Protocol):
    """The events of one trigger, at least once each, for one reader at a time.

    What cannot be done now raises an exception; the source is closed then, and opened again after
    a pause.
    """

    @property
    def behind(self) -> int | None:
        """How many events wait to be taken; None if that is not known."""
        ...

    async def take(self, busy: Collection[str]) -> Sequence[TriggerEvent]:
        """Wait a while for the next events, and return them; none is fine.

        Each is returned once, unless the source is opened again before it was acknowledged.

        Args:
            busy: Ordering keys whose events are being worked on; none of theirs is returned.
        """
        ...

    async def acknowledge(self, event: TriggerEvent) -> None:
        """Note that the executions of this event, and of earlier ones of its key, are on disk."""
        ...

    async def refuse(self, event: TriggerEvent, reason: str) -> bool:
        """Put an event aside that starts no execution; False to have the trigger list it."""
        ...

    def close(self) -> Coroutine[Any, Any, None]:
        """Let go of what was opened; what was not acknowledged comes again."""
        ...


@runtime_checkable
class UnreadEventsSource(Protocol):
    """A source that goes on while the events of some ordering keys cannot be read."""

    @property
    def unread(self) -> str:
        """Which ordering keys are not read, and why; empty if all are."""
        ...


@runtime_checkable
class PostponedEventsSource(Protocol):
    """A source that takes events back which cannot be dealt with now, so that they hold nothing."""

    async def put_back(self, event: TriggerEvent) -> None:
        """Take an event and later ones of its ordering key back; ``take`` returns them again."""
        ...


@runtime_checkable
class TriggerType(Protocol):
    """A type of triggers.

    Attributes:
        name: The type's, as triggers name it: letters, digits, ``-`` and ``_``.
    """

    name: str

    def check(self, settings: JsonObject) -> JsonObject:
        """Return the settings of a trigger as they are stored and shown.

        Raises:
            CronError: They are malformed; its ``field`` is the name of the wrong one.
        """
        ...

    def open(self, trigger_id: str, settings: JsonObject) -> EventSource:
        """Return the events of a trigger; the event loop runs, and must not be held.

        Raises:
            RillflowError: They cannot be had now, with the reason.
        """
        ...


@runtime_checkable
class WorkspaceTriggerType(Protocol):
    """A type whose sources share something of their process, such as memory, by workspace."""

    def open_for(self, workspace: str, trigger_id: str, settings: JsonObject) -> EventSource:
        """Return the events of a trigger, as ``TriggerType.open``, for a workspace.

        Raises:
            RillflowError: They cannot be had now, with the reason.
        """
        ...
