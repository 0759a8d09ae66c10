"""Large answers: how many bytes of them may be unread, and how fast they must be read.

uvicorn takes a whole answer at once and keeps it until its client has read it. So this module gives
it a large answer in pieces, each when the one before has been read, and counts the answer until its
end. Small answers, as nearly all are, go into the kernel's buffers and are not counted.

``routes/hot.py`` calls it for every answer, its own and FastAPI's. It must not know what an answer
says.

Used by `serve/routes/hot.py`.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from typing import Final

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rillflow.errors import UnreadAnswersError
from rillflow.settings import Settings
from serve.limits.callers import caller_of, sender_of, share_of, share_of_places

log = logging.getLogger("rillflow.api")

LARGE_BYTES: Final = 256 * 1024
PIECE_BYTES: Final = 64 * 1024
GRACE_S: Final = 30.0
"""Added to the time that the slowest allowed reader takes for an answer of its size."""


ANSWERED_REQUEST: Final[ContextVar[Scope | None]] = ContextVar("answered_request", default=None)
"""The request that the current task answers, to be set by whoever begins to answer it."""


def sender_of_request() -> str:
    """Return in whose fair share the request counts that the present task answers."""
    scope = ANSWERED_REQUEST.get()
    return "" if scope is None else sender_of(scope)


def reader_of_request() -> str:
    """Return for whom the present task reads the store: the workspace of its caller's key.

    A key for all workspaces, and an address without a key, are told apart by themselves.
    """
    scope = ANSWERED_REQUEST.get()
    if scope is None:
        return ""
    workspaces = caller_of(scope).workspaces
    return min(workspaces) if workspaces else sender_of(scope)


class AnswerPool:
    """The unread large answers of one replica, counted from before they are fetched.

    Callers with the key of the settings, and those of this machine, may use all of the bytes; each
    key by name and each other address has a share. One answer is always sent, however large it is.
    """

    def __init__(
        self,
        settings: Settings,
        refusal: Callable[[UnreadAnswersError], Response],
        *,
        grace_s: float = GRACE_S,
    ) -> None:
        """Take the limits from the settings.

        ``refusal`` builds the answer to a request for which there is no room.
        """
        self._refusal = refusal
        self._grace_s = grace_s
        self._most = settings.answers_max_bytes
        self._most_of_one = min(settings.answers_max_bytes_per_address, self._most)
        self._bytes_per_s = settings.answer_min_bytes_per_s
        self._of_one: Counter[str] = Counter()
        self.rooms: dict[int, int] = {}
        """The bytes counted for requests, by the identity of their scope; few have any."""
        self.bytes = 0

    def end(self, scope: Scope) -> None:
        """Release the room of a request, if it has any."""
        size = self.rooms.pop(id(scope), 0)
        if size:
            self._count(scope, -size)

    def take(self, size: int) -> None:
        """Take room for what this request is about to fetch.

        Raises:
            UnreadAnswersError: Earlier answers have not been read.
        """
        scope = ANSWERED_REQUEST.get()
        if scope is not None and size >= LARGE_BYTES:
            self._take(scope, size)

    def _take(self, scope: Scope, size: int) -> None:
        """Take room for an answer of this size, of which the request may have some already."""
        held = self.rooms.get(id(scope), 0)
        if size <= held:
            return
        if size - held >= LARGE_BYTES:  # not for the envelope around what was fetched
            self._check(scope, size - held)
        self._count(scope, size - held)
        self.rooms[id(scope)] = size

    def _count(self, scope: Scope, size: int) -> None:
        share = share_of(scope)
        self.bytes += size
        self._of_one[share] += size
        if not self._of_one[share]:
            del self._of_one[share]

    def _check(self, scope: Scope, size: int) -> None:
        if self.bytes and self.bytes + size > self._most:
            raise _too_many("answers_max_bytes", self._most)
        share = share_of(scope)
        before = self._of_one.get(share, 0)
        most = share_of_places(share, self._most, self._most_of_one)
        if before and before + size > most:
            raise _too_many("answers_max_bytes_per_address", most)

    async def respond(self, response: Response, scope: Scope, receive: Receive, send: Send) -> None:
        """Send a response of any size, or a refusal in its place."""
        size = len(response.body)
        if size < LARGE_BYTES:
            await response(scope, receive, send)
            return
        try:
            self._take(scope, size)
        except UnreadAnswersError as error:
            response, size = self._refusal(error), 0
        try:
            async with asyncio.timeout(self._grace_s + size / self._bytes_per_s):
                await response(scope, receive, _in_pieces(send))
        except TimeoutError:
            # A response that has begun cannot be refused: the server closes the connection.
            log.warning("answer_not_read", extra={"size_bytes": size})
        finally:
            self.end(scope)


class LargeAnswers:
    """ASGI middleware that sends the large answers of an application through a pool."""

    def __init__(self, inside: ASGIApp, pool: AnswerPool) -> None:
        self._inside = inside
        self._pool = pool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._inside(scope, receive, send)
            return
        start: Message = {}

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
                return
            if start:
                body = message.get("body", b"")
                if len(body) >= LARGE_BYTES and not message.get("more_body", False):
                    response = Response(body, start["status"])
                    response.raw_headers = list(start["headers"])
                    start.clear()
                    await self._pool.respond(response, scope, receive, send)
                    return
                begun = dict(start)
                start.clear()
                await send(begun)
            await send(message)

        await self._inside(scope, receive, send_counted)


def _in_pieces(send: Send) -> Send:
    """Return a ``send`` that splits a body; each piece waits until the one before is read."""

    async def send_pieces(message: Message) -> None:
        body = memoryview(message.get("body", b""))
        if len(body) <= PIECE_BYTES:
            await send(message)
            return
        for start in range(0, len(body), PIECE_BYTES):
            end = start + PIECE_BYTES
            part = bytes(body[start:end])
            await send({**message, "body": part, "more_body": end < len(body)})

    return send_pieces


def _too_many(setting: str, most: int) -> UnreadAnswersError:
    hint = f"{most} bytes may be, as {setting} (RILLFLOW_{setting.upper()}) says"
    return UnreadAnswersError("too many answers are not read", hint=hint)
