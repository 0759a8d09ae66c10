"""What has started executions: which trigger, when, and how.

An execution that a trigger has started has an idempotency key that says so
(``rillflow/triggers/origins.py``). Nothing else is recorded.

Used by `serve/routes/console_api`.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from rillflow.errors import RillflowError
from rillflow.ids import ExecutionId, parse_descriptor_id, service_of
from rillflow.jsontypes import decode_json, encode_json
from rillflow.runtime.stack import Stack
from rillflow.triggers.origins import PREFIX, Origin, candidates, origin_of

TRIGGER: Final = "trigger"
"""What ``trigger`` of an execution says that a trigger has started."""


async def name_triggers(stack: Stack, rows: Sequence[dict[str, Any]]) -> None:
    """Say of the rows of a list which ones a trigger has started; an unread store says nothing."""
    by_id = {row["execution_id"]: row for row in rows if row["parent_id"] is None}
    keys: dict[ExecutionId, str] = {}
    if by_id:
        with suppress(RillflowError):
            keys = await stack.store.idempotency_keys(list(by_id))
    for execution_id, key in keys.items():
        if key.startswith(PREFIX):
            by_id[execution_id]["trigger"] = TRIGGER


async def with_origin(stack: Stack, execution_id: str, header: bytes) -> bytes:
    """Add to the header of an execution which trigger has started it."""
    shown = decode_json(header)
    if not isinstance(shown, dict) or shown.get("parent") is not None:
        return header
    found = None
    with suppress(RillflowError):  # the rest of the page is worth more than this
        found = await _known_origin(stack, execution_id)
    if found is None:
        return header
    origin, is_known = found
    shown["trigger"] = TRIGGER
    shown["triggered_by"] = {
        "trigger_id": origin.trigger_id or None,
        "how": origin.how,
        "scheduled_ms": origin.scheduled_ms,
        "exists": is_known,
    }
    return encode_json(shown)


async def _known_origin(stack: Stack, execution_id: str) -> tuple[Origin, bool] | None:
    """Return what has started an execution, and whether that trigger is there still."""
    keys = await stack.store.idempotency_keys([execution_id])
    key = keys.get(execution_id, "")
    ids = candidates(key)
    stored = await stack.store.triggers_now(ids) if ids else {}
    service = service_of(execution_id)
    known = {
        each
        for each, (row, _) in stored.items()
        if parse_descriptor_id(row.descriptor_id)[:2] == service
    }
    origin = origin_of(key, known)
    return None if origin is None else (origin, origin.trigger_id in known)
