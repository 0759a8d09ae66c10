"""Hides the ids of executions of other workspaces from callers that are limited to workspaces.

It does so in answers (``serve/limits/id_masks.py``). Artifacts are sent as they are. An answer may
have thousands of ids, so a long one is searched beside the event loop, in the turn of its reader.

Used by `serve/middleware/entry.py`.
"""

import asyncio
from functools import partial
from typing import Final

from starlette.types import Message, Send

from rillflow.gateways.outbound.threads import in_turn_of
from rillflow.ids_of_others import MARK
from serve.limits.callers import Caller
from serve.limits.id_masks import IdMask

ARTIFACTS: Final = "/flow/artifacts"
_MANY_BYTES: Final = 16 << 10


def masking(caller: Caller, path: str, send: Send) -> Send:
    """Return a ``send`` that hides ids in the answer to a caller that is limited to workspaces."""
    if not caller.workspaces or path.startswith(ARTIFACTS):
        return send
    mask = IdMask(caller.sees)

    async def send_masked(message: Message) -> None:
        if message["type"] == "http.response.body":
            given, has_more = message.get("body", b""), message.get("more_body", False)
            hide = partial(mask.part, given, has_more=has_more)
            size = len(given) if MARK in given else 0
            body = await in_turn_of(caller.share, size, hide)
            message = {**message, "body": body}
            if len(body) >= _MANY_BYTES:
                await asyncio.sleep(0)  # a large answer comes in parts: others have a turn
        await send(message)

    return send_masked
