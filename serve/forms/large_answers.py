"""Large answers: how many bytes of them may be under way, and how fast they must be read.

uvicorn takes the whole of an answer at once and keeps it until it is read. So a large one is
handed over piece by piece, as it is read, and counts until its end. Small answers, as nearly all
are, are no concern of this module: the kernel takes them.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rillflow.errors import UnreadAnswersError
from rillflow.settings import Settings
from serve.forms.errors import respond_to
from serve.limits.body_pool import is_known
from serve.limits.client_addresses import address_of, is_this_machine

log = logging.getLogger("rillflow.api")

LARGE_BYTES: Final = 256 * 1024
PIECE_BYTES: Final = 64 * 1024
MOST_SIZES: Final = 1_000
"""Of what was large when it was read last, so that it counts already while it is read again."""
MOST_FETCHES: Final = 8
GRACE_S: Final = 30.0
"""Beside the time that the slowest reader may take for an answer of its size."""


class _Readers:
    """Requests that read the same thing, and how many may fetch it at the same time."""

    __slots__ = ("count", "places")

    def __init__(self) -> None:
        self.count = 0
        self.places = asyncio.Semaphore(MOST_FETCHES)


class AnswerPool:
    """The large answers of one replica that are under way.

    Callers with the key, and this machine's, have all of the bytes; each other address has a
    share. One answer is always taken, however large it is.
    """

    def __init__(self, settings: Settings, *, grace_s: float = GRACE_S) -> None:
        self._grace_s = grace_s
        self._most = settings.answers_max_bytes
        self._most_of_one = min(settings.answers_max_bytes_per_address, self._most)
        self._bytes_per_s = settings.answer_min_bytes_per_s
        self._of_one: Counter[str] = Counter()
        self._readers: dict[str, _Readers] = {}
        self._sizes: dict[str, int] = {}
        self.bytes = 0

    async def read(
        self, scope: Scope, name: str, fetch: Callable[[], Awaitable[bytes | None]]
    ) -> bytes | None:
        """Fetch what has that name, which counts as large as it was the last time.

        Nobody knows how large it is before it was read once, so of one name few are fetched at
        the same time: many requests may have waited for the end of one execution.

        Raises:
            UnreadAnswersError: The answers before it are not read.
        """
        readers = self._readers.get(name)
        if readers is None:
            readers = self._readers[name] = _Readers()
        readers.count += 1
        try:
            async with readers.places:
                size = self._sizes.get(name, 0)
                if not size:
                    return self._noted(name, await fetch())
                with self._held(scope, size):
                    return self._noted(name, await fetch())
        finally:
            readers.count -= 1
            if not readers.count:
                del self._readers[name]

    def _noted(self, name: str, body: bytes | None) -> bytes | None:
        self._sizes.pop(name, None)
        size = len(body or b"")
        if size >= LARGE_BYTES:
            self._sizes[name] = size
            if len(self._sizes) > MOST_SIZES:
                del self._sizes[next(iter(self._sizes))]
        return body

    @contextmanager
    def _held(self, scope: Scope, size: int) -> Iterator[None]:
        self._check(scope, size)
        address = address_of(scope)
        self.bytes += size
        self._of_one[address] += size
        try:
            yield
        finally:
            self.bytes -= size
            self._of_one[address] -= size
            if not self._of_one[address]:
                del self._of_one[address]

    def _check(self, scope: Scope, size: int) -> None:
        if self.bytes and self.bytes + size > self._most:
            raise _too_many("answers_max_bytes", self._most)
        if not self._of_one or is_known(scope) or is_this_machine(scope):
            return
        before = self._of_one[address_of(scope)]
        if before and before + size > self._most_of_one:
            raise _too_many("answers_max_bytes_per_address", self._most_of_one)

    async def respond(self, response: Response, scope: Scope, receive: Receive, send: Send) -> None:
        """Send a response of any size, or a refusal in its place."""
        size = len(response.body)
        if size < LARGE_BYTES:
            await response(scope, receive, send)
            return
        with ExitStack() as held:
            try:
                held.enter_context(self._held(scope, size))
            except UnreadAnswersError as error:
                response, size = respond_to(error), 0
            try:
                async with asyncio.timeout(self._grace_s + size / self._bytes_per_s):
                    await response(scope, receive, _in_pieces(send))
            except TimeoutError:
                # What has been begun cannot be refused: the server closes the connection.
                log.warning("answer_not_read", extra={"size_bytes": size})


class LargeAnswers:
    """An ASGI application that has the large answers of another one sent by a pool."""

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
    """Return what hands on a body piece by piece; each waits until the one before is read."""

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
