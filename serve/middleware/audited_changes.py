"""Notes who has changed what: each change becomes an entry of the audit before it is answered.

It stands before the routes that FastAPI answers, so submissions and callbacks, which the journals
of executions have, cost nothing. Refused changes are noted too, unless the caller was not let in.

Used by `serve/api.py`.
"""

import logging
from typing import Final
from urllib.parse import parse_qsl

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rillflow.errors import StoreError
from rillflow.ports.access import AuditEntry
from rillflow.runtime.stack import Stack
from serve.limits.callers import caller_of, workspace_in
from serve.limits.client_addresses import address_of
from serve.route_table import AUTHOR_SOME, Access, Role, Route, paths_where

log = logging.getLogger("rillflow.audit")

LONGEST_SUBJECT: Final = 300
SUBJECTS: Final = ("execution_id", "executionId", "service_id", "descriptor_id", "name", "id")
"""Parameters that name what a change is about; the first that is given counts."""
NAMES: Final = ("business_id", "feature_name", "alias", "config_key")
"""Parameters that do so together."""


def _is_change(route: Route) -> bool:
    is_closed = route.access is Access.KEY and not route.hot
    return is_closed and route.needs.role >= Role.SUBMITTER and "POST" in route.methods


CHANGES: Final = paths_where(lambda route: _is_change(route) and route.needs != AUTHOR_SOME)
"""The routes whose requests are noted."""


class AuditedChanges:
    """ASGI middleware that notes changes in the store."""

    def __init__(self, inside: ASGIApp, stack: Stack) -> None:
        self._inside = inside
        self._stack = stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http" or scope["path"] not in CHANGES or scope["method"] != "POST":
            await self._inside(scope, receive, send)
            return

        async def send_when_noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self._note(self._entry(scope, message["status"]))
            await send(message)

        await self._inside(scope, receive, send_when_noted)

    async def _note(self, entry: AuditEntry) -> None:
        try:
            await self._stack.store.note_audit([entry])
        except StoreError as error:
            # The change is made; the log is the next best place to keep who made it.
            facts = {"action": entry.action, "key": entry.key, "subject": entry.subject}
            log.warning("audit_not_kept", extra={**facts, "reason": str(error)})

    def _entry(self, scope: Scope, status: int) -> AuditEntry:
        caller = caller_of(scope)
        subject = _subject(scope["query_string"])
        return AuditEntry(
            at_ms=self._stack.clock.now_ms(),
            action=scope["path"].removeprefix("/flow/").removesuffix(".json"),
            subject=subject,
            workspace=workspace_in(subject) if not scope["path"].startswith("/flow/keys/") else "",
            key=caller.name,
            key_id=caller.key_id,
            address=address_of(scope),
            status=status,
        )


def _subject(query_string: bytes) -> str:
    fields = dict(parse_qsl(query_string.decode("latin-1"), keep_blank_values=True))
    named = next((fields[name] for name in SUBJECTS if fields.get(name)), None)
    if named is None:
        named = ":".join(fields[name] for name in NAMES if fields.get(name))
    return named.encode(errors="replace").decode()[:LONGEST_SUBJECT]
