"""Adding and changing triggers, within limits; firing one by hand, and for past times.

Used by `runtime/stack.py`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import msgspec

from rillflow.errors import CronError, RequestError
from rillflow.ids import ExecutionId, parse_descriptor_id
from rillflow.jsontypes import JsonObject, JsonValue, decode_json, encode_json
from rillflow.ports.clock import Clock
from rillflow.ports.storage.access import Holder
from rillflow.ports.triggers import TriggerRow, Triggers
from rillflow.runtime.definitions.trigger_groups import RESTRICTED
from rillflow.runtime.definitions.trigger_room import TriggerRoom
from rillflow.runtime.submission.intake import bounded_key
from rillflow.runtime.triggers.backfills import Backfills
from rillflow.runtime.triggers.descriptions import described
from rillflow.runtime.triggers.submission_options import CheckingSubmitter, options_of
from rillflow.runtime.triggers.trigger_lists import TriggerLists
from rillflow.settings import ResourceCheck
from rillflow.triggers.origins import PREFIX
from rillflow.triggers.spec import (
    check_id,
    decode_spec,
    encode_spec,
    is_id_of_declared,
    workspace_in_id,
)
from rillflow.triggers.trigger_types import (
    MOST_SETTINGS_BYTES,
    WEBHOOK,
    Check,
    ReadTrigger,
    read_trigger,
)
from rillflow.triggers.webhooks import check_name

MOST_CONTEXT_BYTES: Final = 256 << 10
MOST_BODY_BYTES: Final = MOST_SETTINGS_BYTES
"""What a trigger may have besides its context, and its cron expression."""
UNKNOWN_TRIGGER: Final = 30106
FORBIDDEN: Final = 30108


Sees: TypeAlias = Callable[[str], bool]
"""Tells whether whoever asks may see what is in a workspace; what they may not is not there."""


def everything(business: str) -> bool:
    """See all workspaces."""
    del business
    return True


class TriggerRegistry:
    """The triggers of a stack."""

    def __init__(  # noqa: PLR0913 - the parts of a stack
        self,
        store: Triggers,
        submissions: CheckingSubmitter,
        clock: Clock,
        room: TriggerRoom | None = None,
        checks: Mapping[str, Check] | None = None,
        *,
        sender: Callable[[], str] = str,
    ) -> None:
        """Use the parts of a stack.

        ``checks`` are those of the types that packages add. ``sender`` tells for whom the present
        task lists triggers: senders take turns.
        """
        self._store = store
        self._checks = checks or {}
        self._room = room or TriggerRoom(store)
        self.lists = TriggerLists(store, clock, sender)
        self._submissions = submissions
        self._backfills = Backfills(submissions)
        self._clock = clock

    async def add(  # noqa: PLR0913 - the parts of a trigger
        self,
        descriptor_id: str,
        trigger: ReadTrigger,
        context: JsonObject | None,
        *,
        trigger_id: str = "",
        replace: bool = False,
        is_paused: bool = False,
    ) -> TriggerRow:
        """Add a trigger; when this returns, it is on disk.

        Without an id it gets the next number. A cron trigger fires the times after now.

        Raises:
            RequestError: Something is malformed (30109), the id is taken (409), it is one of
                declared triggers, or a limit is reached (30110).
            OverloadedError: The store has no room for it, or its workspace has none (503, 429).
        """
        business = parse_descriptor_id(descriptor_id).business
        kind, spec = trigger
        if trigger_id:
            check_id(trigger_id)
            _refuse_id_of_declared(trigger_id)
            await self._refuse_id_of_others(trigger_id, business)
        if kind == WEBHOOK:
            check_name(trigger_id)
        text = "" if context is None else encode_json(context).decode()
        _check_size(len(text.encode()), len(encode_json([spec.body, spec.config])))
        now_ms = self._clock.now_ms()
        row = TriggerRow(
            id=trigger_id,
            type=kind,
            descriptor_id=descriptor_id.strip(),
            spec=encode_spec(spec),
            is_paused=is_paused,
            created_at_ms=now_ms,
            position_ms=now_ms,
        )
        async with self._room.taken(business, [(row, text)]):
            stored = await self._store.put_trigger(row, text, replace=replace)
            if stored is None:
                raise _taken(trigger_id)  # so it takes no room
        return stored

    async def add_described(
        self,
        body: JsonObject,
        callback: bytes | None,
        check: ResourceCheck | None,
        sees: Sees = everything,
        *,
        is_limited: bool = False,
    ) -> dict[str, Any]:
        """Add a trigger, all of whose fields are in an object; return it as ``show`` does.

        If what it starts was not added yet, its ``hint`` says so: it may be added later.

        Args:
            body: The fields.
            callback: That of its field, checked.
            check: That of its field ``resource_check``.
            sees: What whoever asks may see.
            is_limited: Whether that is not everything. They choose ids that belong to a workspace
                of theirs, because whether another one is taken is not theirs to know.

        Raises:
            RequestError: As ``add``; or it would start what they may not see (30108), or its id is
                new and belongs to no workspace (30110).
        """
        trigger = with_options(read_trigger(body, self._checks), callback, check)
        descriptor_id, trigger_id = _text(body, "descriptor_id"), _text(body, "id", default="")
        workspace = parse_descriptor_id(descriptor_id).business
        if not sees(workspace):
            raise RequestError(
                "this trigger is one of another workspace", wire_code=FORBIDDEN, http_status=403
            )
        if trigger_id and await self._seen(trigger_id, sees) is None:
            if is_limited:
                _refuse_id_of_nobody(trigger_id, workspace)
            if await self._store.trigger(trigger_id) is not None:
                raise _taken(trigger_id)
        row = await self.add(
            descriptor_id,
            trigger,
            read_context(body),
            trigger_id=trigger_id,
            replace=_flag(body, "replace"),
            is_paused=_flag(body, "paused"),
        )
        missing = await self._submissions.missing(row.descriptor_id)
        hint = {"hint": f"{missing}; until then it starts nothing"} if missing else {}
        return await self.show(row.id) | hint

    async def remove(
        self, trigger_id: str, sees: Sees = everything, *, kind: str | None = None
    ) -> bool:
        """Remove a trigger; False if there is none of this kind.

        Raises:
            RequestError: A definition declares it (30110).
        """
        stored = await self._seen(trigger_id, sees)
        if stored is None or kind not in {None, stored[0].type}:
            return False
        _refuse_declared(stored[0])
        return await self._store.remove_trigger(trigger_id, at_ms=self._clock.now_ms())

    async def remove_known(self, trigger_id: str, sees: Sees = everything) -> None:
        """Remove a trigger.

        Raises:
            RequestError: There is none (30106), or a definition declares it (30110).
        """
        if not await self.remove(trigger_id, sees):
            raise _unknown(trigger_id)

    async def pause(self, trigger_id: str, sees: Sees = everything, *, is_paused: bool) -> None:
        """Pause or resume a trigger; the times of a pause are not made up for.

        Raises:
            RequestError: There is none (30106).
            OverloadedError: The store has no room for what a resumed one starts (503, 429).
        """
        row, _ = await self._known(trigger_id, sees)
        if not is_paused:
            await self._room.admit(parse_descriptor_id(row.descriptor_id).business, 0)
        at_ms = self._clock.now_ms()
        if not await self._store.pause_trigger(trigger_id, is_paused=is_paused, at_ms=at_ms):
            raise _unknown(trigger_id)

    async def show(self, trigger_id: str, sees: Sees = everything) -> dict[str, Any]:
        """Return a trigger with its context and what it has done.

        Raises:
            RequestError: There is none (30106).
        """
        row, context = await self._known(trigger_id, sees)
        return described(row, self._clock.now_ms()) | {"context": _context(context)}

    async def fire(
        self,
        trigger_id: str,
        key: str,
        sees: Sees = everything,
        *,
        holder: Holder | None = None,
    ) -> ExecutionId:
        """Start an execution now, whatever the schedule says; a key makes it happen once.

        It counts for the quota of ``holder``, whose API key starts it.

        Raises:
            RillflowError: There is no such trigger, or the submission was refused.
        """
        row, context = await self._known(trigger_id, sees)
        checked = bounded_key(f"{PREFIX}{trigger_id}/by-hand/{key}") or ""
        options = options_of(decode_spec(row.spec), checked)._replace(holder=holder)
        return await self._submissions.submit(row.descriptor_id, context.encode(), options)

    async def backfill(
        self,
        trigger_id: str,
        span_ms: tuple[int, int],
        sees: Sees = everything,
        *,
        holder: Holder | None = None,
    ) -> list[ExecutionId]:
        """Start the executions of all scheduled times of a span, except those that were started.

        They count for the quota of ``holder``, whose API key starts them.

        Returns:
            The executions of all times of the span.

        Raises:
            OverloadedError: The workspace has a backfill under way here, or others have (429).
            RillflowError: There is no such trigger, the span has too many times, or a submission
                was refused; repeating it starts the rest.
        """
        stored = await self._known(trigger_id, sees)
        return await self._backfills.start(trigger_id, stored, span_ms, holder)

    async def _refuse_id_of_others(self, trigger_id: str, workspace: str) -> None:
        """Refuse ids that triggers of others, or without an id, would get."""
        stored = await self._store.trigger(trigger_id)
        if stored is not None and _workspace_of(stored[0]) == workspace:
            return  # also one that an earlier release has let it have
        if workspace_in_id(trigger_id) not in {None, workspace}:
            raise RequestError(
                "ids of the forms business:name and topic#business:feature belong to triggers of"
                " that business",
                wire_code=RESTRICTED,
            )
        if trigger_id.isdecimal() and stored is None:
            raise RequestError(
                "numbers are the ids of triggers that are added without one: choose another id",
                wire_code=RESTRICTED,
            )

    async def _seen(self, trigger_id: str, sees: Sees) -> tuple[TriggerRow, str] | None:
        stored = await self._store.trigger(trigger_id)
        return stored if stored is not None and _is_seen(stored[0], sees) else None

    async def _known(self, trigger_id: str, sees: Sees) -> tuple[TriggerRow, str]:
        stored = await self._seen(trigger_id, sees)
        if stored is None:
            raise _unknown(trigger_id)
        return stored


def _check_size(context_bytes: int, body_bytes: int) -> None:
    if context_bytes > MOST_CONTEXT_BYTES:
        raise RequestError(
            "context size nonsupport",
            hint=f"the context of a trigger has up to {MOST_CONTEXT_BYTES} bytes",
        )
    if body_bytes > MOST_BODY_BYTES:
        raise CronError(f"besides its context a trigger has up to {MOST_BODY_BYTES} bytes")


def read_context(body: JsonObject) -> JsonObject | None:
    """Return the context of a trigger; None if it has none.

    Raises:
        CronError: It is no JSON object.
    """
    context = body.get("context")
    if context is not None and not isinstance(context, dict):
        raise CronError("context must be a JSON object")
    return context


def with_options(
    trigger: ReadTrigger, callback: bytes | None, check: ResourceCheck | None
) -> ReadTrigger:
    """Add the options of the submissions of a trigger."""
    spec = msgspec.structs.replace(
        trigger.spec,
        callback=None if callback is None else callback.decode(),
        resource_check=None if check is None else check.model_dump_json(),
    )
    return ReadTrigger(trigger.kind, spec)


def _text(body: JsonObject, name: str, default: str | None = None) -> str:
    value = body.get(name, default)
    if not isinstance(value, str) or "\0" in value:
        raise CronError(f"{name} is missing, or is not text")
    return value


def _flag(body: JsonObject, name: str) -> bool:
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise CronError(f"{name} must be true or false")
    return value


def _is_seen(row: TriggerRow, sees: Sees) -> bool:
    return sees(_workspace_of(row))


def _workspace_of(row: TriggerRow) -> str:
    return parse_descriptor_id(row.descriptor_id).business


def _context(text: str) -> JsonValue:
    return decode_json(text.encode()) if text else {}


def _taken(trigger_id: str) -> RequestError:
    return RequestError(f"there is a trigger {trigger_id} already", http_status=409)


def _refuse_id_of_declared(trigger_id: str) -> None:
    if is_id_of_declared(trigger_id):
        raise RequestError(
            "ids of the form business:feature:alias/name belong to triggers that definitions"
            " declare: choose another id, or declare the trigger in its definition",
            wire_code=RESTRICTED,
        )


def _refuse_id_of_nobody(trigger_id: str, workspace: str) -> None:
    """Refuse an id that a trigger of any workspace may have, whether or not one has it."""
    if workspace_in_id(check_id(trigger_id)) != workspace:
        raise RequestError(
            f"a key that is limited to workspaces adds triggers with ids of the form"
            f" {workspace}:name, or without an id",
            wire_code=RESTRICTED,
        )


def _refuse_declared(row: TriggerRow) -> None:
    if row.owner:
        raise RequestError(
            f"the definition {row.owner} declares this trigger: change it there",
            wire_code=RESTRICTED,
        )


def _unknown(trigger_id: str) -> RequestError:
    return RequestError(f"there is no trigger {trigger_id}", wire_code=UNKNOWN_TRIGGER)
