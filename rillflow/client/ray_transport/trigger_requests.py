"""Operations on triggers, for a script on the stack's Ray cluster.

Used by `client/ray_transport/driver.py`.
"""

import uuid
from collections.abc import Callable
from typing import Any

from rillflow.client.operations import TriggerRequest
from rillflow.errors import RequestError
from rillflow.jsontypes import JsonObject
from rillflow.runtime.triggers.registry import TriggerRegistry
from rillflow.settings import ResourceCheck
from rillflow.triggers.spec import time_ms

PAGE = "100"


async def manage(
    triggers: TriggerRegistry,
    request: TriggerRequest,
    callback_config: Callable[[Any], bytes | None],
) -> JsonObject:
    """Perform one operation, and answer as the HTTP API does.

    Raises:
        RillflowError: It was refused.
    """
    query = dict(request.query)
    trigger_id = query.get("trigger_id", "")
    match request.action:
        case "add":
            body = request.body or {}
            callback = callback_config(body.get("callback"))
            return await triggers.add_described(body, callback, _check(body))
        case "list":
            return await _page(triggers, query)
        case "show":
            return await triggers.show(trigger_id)
        case "fire":
            key = query.get("idempotency_key") or uuid.uuid4().hex
            return {"execution_id": await triggers.fire(trigger_id, key)}
        case "backfill":
            span = time_ms(query["from"], "from"), time_ms(query["to"], "to")
            return {"execution_ids": [*await triggers.backfill(trigger_id, span)]}
        case "remove":
            await triggers.remove_known(trigger_id)
        case "pause" | "resume":
            await triggers.pause(trigger_id, is_paused=request.action == "pause")
    return {}


async def _page(triggers: TriggerRegistry, query: dict[str, str]) -> JsonObject:
    limit = int(query.get("limit", PAGE))
    found, following = await triggers.lists.page(
        owner=None, after=query.get("after", ""), limit=limit
    )
    return {"triggers": [*found], **({"next": following} if following else {})}


def _check(body: JsonObject) -> ResourceCheck | None:
    given = body.get("resource_check")
    if given is None:
        return None
    try:
        return ResourceCheck.model_validate(given)
    except ValueError as error:
        raise RequestError("resource_check content nonsupport") from error
