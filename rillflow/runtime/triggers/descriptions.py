"""Triggers as they are shown: in Rillflow's form, and in Rill Flow's (spec 7.1).

Used by `runtime/triggers/registry.py` and `runtime/triggers/trigger_lists.py`.
"""

import time
from collections.abc import Sequence
from typing import Any

import msgspec

from rillflow.gateways.outbound.threads import FOR_LISTS
from rillflow.jsontypes import encode_json
from rillflow.ports.triggers import TriggerRow
from rillflow.runtime.triggers.progress import decode_progress
from rillflow.runtime.triggers.submission_options import shown_spec
from rillflow.triggers.kafka import rill_flow_details
from rillflow.triggers.spec import TriggerSpec, decode_spec
from rillflow.triggers.trigger_types import KAFKA, WEBHOOK, shown_trigger
from rillflow.triggers.webhooks import path_of


def described(row: TriggerRow, now_ms: int) -> dict[str, Any]:
    """Describe a trigger, without its context; ``next_ms`` is the next time from ``now_ms``."""
    spec = decode_spec(row.spec)
    progress = msgspec.structs.asdict(decode_progress(row.progress))
    following = None
    if not row.is_paused and spec.config is None:
        following = spec.schedule().next_after(max(row.position_ms, now_ms))
    return {
        "id": row.id,
        "type": row.type,
        "descriptor_id": row.descriptor_id,
        "paused": row.is_paused,
        **({"declared_by": row.owner} if row.owner else {}),
        **shown_trigger(row.type, shown_spec(spec)),
        **({"path": path_of(row.id)} if row.type == WEBHOOK else {}),
        "created_ms": row.created_at_ms,
        **({} if following is None else {"next_ms": following}),
        **progress,
    }


async def all_described(
    rows: Sequence[TriggerRow], now_ms: int, sender: str
) -> tuple[list[dict[str, Any]], float]:
    """Describe triggers in a thread: the next time of a rare one takes a millisecond.

    Returns:
        Their descriptions, and how long that took in seconds of processor time.
    """

    def describe() -> tuple[list[dict[str, Any]], float]:
        begun_s = time.thread_time()
        return [described(row, now_ms) for row in rows], time.thread_time() - begun_s

    return await FOR_LISTS.run(sender, describe)


def add_bodies(text: bytearray, found: Sequence[tuple[TriggerRow, str]]) -> None:
    """Add the members of triggers to the text of an object."""
    for row, context in found:
        spec = decode_spec(row.spec)
        if row.type == KAFKA:
            body = _kafka_details(row, spec)
        else:
            body = {"cron": spec.cron} | (spec.body or {})
            if context:
                body["context"] = msgspec.Raw(context.encode())
        text += (b"," if len(text) > 1 else b"") + encode_json({row.id: body})[1:-1]


def _kafka_details(row: TriggerRow, spec: TriggerSpec) -> dict[str, Any]:
    """Return a Kafka trigger in Rill Flow's form."""
    return {
        "descriptor_id": row.descriptor_id,
        "uid": spec.uid,
        **rill_flow_details(spec.config or {}),
        **(spec.body or {}),
    }
