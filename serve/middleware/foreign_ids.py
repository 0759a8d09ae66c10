"""Hides the ids of executions of other workspaces from callers that are limited to workspaces.

It does so in answers (``serve/limits/id_masks.py``). Artifacts are sent as they are.

Used by `serve/middleware/entry.py`.
"""

import asyncio
from typing import Final

from starlette.types import Message, Send

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
            body = mask.part(message.get("body", b""), has_more=message.get("more_body", False))
            message = {**message, "body": body}
            if len(body) >= _MANY_BYTES:
                await asyncio.sleep(0)  # a large answer comes in parts: others have a turn
        await send(message)

    return send_masked
