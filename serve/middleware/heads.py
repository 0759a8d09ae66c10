"""The answer to HEAD: the head of what a GET is answered, complete as soon as it is sent.

A proxy takes such an answer for complete when it has its head, and uses the connection for the next
request, of anybody. uvicorn does not read that request before the answer has been ended, and closes
the connection if the application raises. So the application is cancelled at its head: no stream
goes on, and no file is read to its end for nothing.

Used by `serve/middleware/entry.py`.
"""

import asyncio
import logging
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("rillflow.api")

_END: Final[Message] = {"type": "http.response.body", "body": b"", "more_body": False}


async def only_head(inside: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the head of what an application answers, and cancel the application there."""
    loop = asyncio.get_running_loop()
    is_answered = False

    async def send_head(message: Message) -> None:
        nonlocal is_answered
        if message["type"] == "http.response.start":
            await send(message)
            await send(_END)
            is_answered = True
            over.reschedule(loop.time())
        await loop.create_future()  # until it is cancelled

    try:
        async with asyncio.timeout(None) as over:
            await inside(scope, receive, send_head)
    except Exception as error:
        if not is_answered:
            raise
        if not isinstance(error, TimeoutError):
            log.exception("request_not_ended", extra={"path": scope["path"]})
