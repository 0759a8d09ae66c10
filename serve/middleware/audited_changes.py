"""Notes who has changed what: each change becomes an entry of the audit before it is answered.

It stands before the routes that FastAPI answers, so submissions and callbacks, which the journals
of executions have, cost nothing. Refused changes are noted too, unless the caller was not let in;
where one caller is refused again and again, most of them are only counted.

Used by `serve/api.py`.
"""

import asyncio
import logging
from typing import Final
from urllib.parse import parse_qsl

from cachetools import LRUCache
from msgspec.structs import replace
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rillflow.errors import OverloadedError, StoreError
from rillflow.ports.storage.access import AuditEntry
from rillflow.runtime.stack import Stack
from rillflow.task_set import TaskSet
from serve.limits.callers import CHANGE, caller_of, share_of, workspace_in
from serve.limits.client_addresses import address_of
from serve.limits.webhook_limits import MOST_KNOWN, Rates
from serve.schemas.errors import respond_to

log = logging.getLogger("rillflow.audit")

LONGEST_SUBJECT: Final = 300
CHANGES_PER_S: Final = 50
BURST_OF_CHANGES: Final = 5_000
"""What one key by name, or one address, may have noted; entries are kept for a year."""
REFUSED_PER_S: Final = 1 / 60
BURST_OF_REFUSED: Final = 1_000
"""Of those that were refused, so many of one key or address have an entry; the next entry of one
says how many have none, since trying costs nothing."""
WAKE_UP: Final = "/flow/wakeup.json"
"""What succeeds is not counted, since functions may do it all day. Of the wake-ups of an execution
by one caller, one is noted in ``WAKE_UP_PAUSE_S``."""
WAKE_UP_PAUSE_S: Final = 3_600.0
MOST_WOKEN: Final = 20_000
"""Executions and callers that are remembered for this; where more are woken up, that is counted."""
SUCCESS: Final = 200
REFUSED: Final = range(400, 499)
"""What answers with a failure of the server may have been made."""
LEFT: Final = 499
"""The status of a change whose caller has left before it was answered; it may have been made."""
_EXECUTION: Final = ("execution_id",)
_ALIAS: Final = ("business_id", "feature_name", "alias")
_TRIGGER: Final = ("trigger_id",)
_DESCRIPTORS: Final = "/flow/bg/manage/descriptor"
SUBJECTS: Final[dict[str, tuple[str, ...]]] = {
    "/flow/wakeup.json": _EXECUTION,
    "/flow/redo.json": _EXECUTION,
    "/flow/multi_redo.json": ("service_id",),
    "/flow/task_degrade.json": _EXECUTION,
    "/flow/complete.json": _EXECUTION,
    "/flow/cancel.json": _EXECUTION,
    "/flow/pause.json": _EXECUTION,
    "/flow/resume.json": _EXECUTION,
    f"{_DESCRIPTORS}/add_descriptor.json": _ALIAS,
    f"{_DESCRIPTORS}/modify_business.json": _ALIAS[:1],
    f"{_DESCRIPTORS}/modify_feature.json": _ALIAS[:2],
    f"{_DESCRIPTORS}/modify_alias.json": _ALIAS,
    f"{_DESCRIPTORS}/modify_gray.json": _ALIAS,
    f"{_DESCRIPTORS}/modify_function_ab.json": ("business_id", "config_key"),
    "/flow/clear_runtime_resources.json": ("service_id",),
    "/flow/trigger/add_trigger.json": ("descriptor_id",),
    "/flow/trigger/cancel_trigger.json": ("task_id",),
    "/flow/triggers/add.json": (),
    "/flow/triggers/remove.json": _TRIGGER,
    "/flow/triggers/pause.json": _TRIGGER,
    "/flow/triggers/resume.json": _TRIGGER,
    "/flow/triggers/fire.json": _TRIGGER,
    "/flow/triggers/backfill.json": _TRIGGER,
    "/flow/template/create_task_template.json": (),
    "/flow/template/update_task_template.json": (),
    "/flow/template/enable_task_template.json": ("id",),
    "/flow/template/disable_task_template.json": ("id",),
    "/flow/customized/storage/init_bucket.json": _EXECUTION,
    "/flow/customized/storage/store.json": _EXECUTION,
    "/flow/customized/storage/load.json": _EXECUTION,
    "/flow/customized/storage/remove_bucket.json": _EXECUTION,
    "/flow/customized/storage/remove_element.json": _EXECUTION,
    "/flow/keys/add.json": ("name",),
    "/flow/keys/revoke.json": ("name",),
}
"""The routes that change something, and the parameters that name what they change together."""
TOOLS: Final = frozenset(
    {
        *("/flow/validate.json", "/flow/convert.json", "/flow/dependency_check.json"),
        *("/flow/mapping_evaluation.json", "/flow/function_dispatch_params.json"),
        *("/flow/console/v1/draft.json", "/flow/console/v1/dry_run.json"),
    }
)
"""Routes for authors that change nothing."""
_OF_NO_WORKSPACE: Final = ("/flow/keys/", "/flow/template/")


class AuditedChanges:
    """ASGI middleware that notes changes in the store."""

    def __init__(
        self,
        inside: ASGIApp,
        stack: Stack,
        *,
        burst: int = BURST_OF_CHANGES,
        burst_of_refused: int = BURST_OF_REFUSED,
        most_woken: int = MOST_WOKEN,
    ) -> None:
        self._inside = inside
        self._stack = stack
        self._notes = TaskSet[None]()
        self._rates = Rates(CHANGES_PER_S, burst, stack.clock)
        self._refused = Rates(REFUSED_PER_S, burst_of_refused, stack.clock)
        self._unnoted = LRUCache[str, int](MOST_KNOWN)
        self._woken = LRUCache[tuple[str, str, str], float](most_woken)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; it is noted once, also if its caller leaves before the answer."""
        if scope["type"] != "http" or scope["path"] not in SUBJECTS or scope["method"] != "POST":
            await self._inside(scope, receive, send)
            return
        share = share_of(scope)
        if share and self._rates.wait_s(share):
            await respond_to(OverloadedError("too many changes by one caller"))(
                scope, receive, send
            )
            return
        entry = await self._entry(scope)
        scope[CHANGE] = entry
        is_noted = False

        async def note(status: int) -> None:
            nonlocal is_noted
            is_noted = True
            found = self._counted(scope, replace(scope[CHANGE], status=status), share)
            if found is not None:
                # A caller who leaves cancels the request, and not the note.
                await asyncio.shield(self._notes.start(self._note(found)))

        async def send_when_noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                await note(message["status"])
            await send(message)

        try:
            await self._inside(scope, receive, send_when_noted)
        finally:
            if not is_noted:
                self._notes.start(note(LEFT))

    def _counted(self, scope: Scope, entry: AuditEntry, share: str) -> AuditEntry | None:
        """Count a change; return what is noted of it, None if it need not be."""
        is_counted = True
        if scope["path"] == WAKE_UP and entry.status == SUCCESS:
            pair, now_s = (share, entry.address, entry.subject), self._stack.clock.monotonic_s()
            noted_s = self._woken.get(pair)
            if noted_s is not None and now_s - noted_s < WAKE_UP_PAUSE_S:
                return None
            self._woken[pair] = now_s
            is_counted = len(self._woken) == self._woken.maxsize
        if share and is_counted:
            self._rates.count(share)
        return self._refused_one(entry, share) if share and entry.status in REFUSED else entry

    def _refused_one(self, entry: AuditEntry, share: str) -> AuditEntry | None:
        """Count a change that was refused; return what is noted of it."""
        if self._refused.wait_s(share):
            self._unnoted[share] = self._unnoted.get(share, 0) + 1
            return None
        self._refused.count(share)
        return replace(entry, unnoted=self._unnoted.pop(share, 0))

    async def _note(self, entry: AuditEntry) -> None:
        try:
            await self._stack.store.note_audit([entry])
        except StoreError as error:
            # The change is made; the log is the next best place to keep who made it.
            facts = {"action": entry.action, "key": entry.key, "subject": entry.subject}
            log.warning("audit_not_kept", extra={**facts, "reason": str(error)})

    async def _entry(self, scope: Scope) -> AuditEntry:
        caller, path = caller_of(scope), scope["path"]
        subject = _subject(scope["query_string"], SUBJECTS[path])
        workspace = "" if path.startswith(_OF_NO_WORKSPACE) else workspace_in(subject)
        if SUBJECTS[path] in {_TRIGGER, ("task_id",)}:
            workspace = await self._workspace_of_trigger(subject)
        return AuditEntry(
            at_ms=self._stack.clock.now_ms(),
            action=path.removeprefix("/flow/").removesuffix(".json"),
            subject=subject,
            workspace=workspace,
            key=caller.name,
            key_id=caller.key_id,
            address=address_of(scope),
        )

    async def _workspace_of_trigger(self, trigger_id: str) -> str:
        """Return the workspace whose workflow a trigger starts, before the trigger is removed."""
        try:
            found = await self._stack.store.trigger(trigger_id)
        except StoreError:
            return ""  # the change fails for the same reason
        return "" if found is None else workspace_in(found[0].descriptor_id)


def _subject(query_string: bytes, names: tuple[str, ...]) -> str:
    fields = dict(parse_qsl(query_string.decode("latin-1"), keep_blank_values=True))
    named = ":".join(fields[name] for name in names if fields.get(name))
    return named.encode(errors="replace").decode()[:LONGEST_SUBJECT]
