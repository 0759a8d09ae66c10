"""Waiting for the end of an execution at its owner, for many callers through one question."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import msgspec

from rillflow.errors import RillflowError
from rillflow.ids import ExecutionId
from rillflow.ports.executions import Reply, Watch

log = logging.getLogger("rillflow.watching")

ASK_S = 20.0
PAUSE_S = 0.2


class Question(msgspec.Struct, frozen=True, array_like=True):
    """What has ended for a watcher, besides what it has heard of? Wait so long for news."""

    watcher: str
    timeout_s: float
    heard: list[ExecutionId] = []


class News(msgspec.Struct, frozen=True, array_like=True):
    """What an owner tells a watcher: which life it is in, and what has ended."""

    life: str
    ended: list[ExecutionId]


_news_decoder = msgspec.msgpack.Decoder(News)
_question_decoder = msgspec.msgpack.Decoder(Question)


def encode_question(question: Question) -> bytes:
    """Encode a question."""
    return msgspec.msgpack.encode(question)


def decode_question(data: bytes) -> Question:
    """Decode a question."""
    return _question_decoder.decode(data)


def encode_news(news: News) -> bytes:
    """Encode the answer."""
    return msgspec.msgpack.encode(news)


def decode_news(data: bytes) -> News:
    """Decode the answer."""
    return _news_decoder.decode(data)


class EndWatch:
    """The callers of one process that wait for executions of one owner.

    One question is open at the owner while anybody waits. An owner that began a new
    life has forgotten who watches, so it is told again.
    """

    def __init__(
        self,
        watcher: str,
        call: Callable[[Watch], Awaitable[Reply]],
        ask: Callable[[Question], Awaitable[News]],
    ) -> None:
        self._watcher = watcher
        self._call = call
        self._ask = ask
        self._life: str | None = None
        self._told: str | None = None
        self._heard: list[ExecutionId] = []
        self._waiting: dict[ExecutionId, dict[asyncio.Future[None], None]] = {}
        self._asking: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    async def wait(self, execution_id: ExecutionId, timeout_s: float) -> bool:
        """Wait for the end; False when the time was not enough.

        Raises:
            RillflowError: The owner refused, or could not be reached.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(execution_id, {})[future] = None
        try:
            if not await self._watch(execution_id):
                return True
            if self._asking is None:
                self._asking = asyncio.create_task(self._run())
            await asyncio.wait_for(future, timeout_s)
        except TimeoutError:
            return False
        finally:
            self._leave(execution_id, future)
        return True

    async def _watch(self, execution_id: ExecutionId) -> bool:
        watch = Watch(execution_id=execution_id, watcher=self._watcher)
        return (await self._call(watch)).raise_for_error().changed

    def _leave(self, execution_id: ExecutionId, future: "asyncio.Future[None]") -> None:
        futures = self._waiting.get(execution_id, {})
        futures.pop(future, None)
        if not futures:
            self._waiting.pop(execution_id, None)

    async def _run(self) -> None:
        try:
            while self._waiting:
                try:
                    if self._told != self._life:
                        await self._watch_again()
                    self._hear(await self._ask(Question(self._watcher, ASK_S, self._heard)))
                except RillflowError:
                    await asyncio.sleep(PAUSE_S)
                except Exception:
                    log.exception("question_failed", extra={"waiting": len(self._waiting)})
                    await asyncio.sleep(PAUSE_S)
        finally:
            self._asking = None

    def _hear(self, news: News) -> None:
        self._heard = news.ended
        self._life = news.life
        for execution_id in news.ended:
            self._resolve(execution_id)

    async def _watch_again(self) -> None:
        """Tell an owner in a new life of everything that is waited for.

        That includes the first life heard of: what was watched before may have been told
        to another one.
        """
        life = self._life
        for execution_id in list(self._waiting):
            if not await self._watch(execution_id):
                self._resolve(execution_id)
        self._told = life

    def _resolve(self, execution_id: ExecutionId) -> None:
        for future in self._waiting.get(execution_id, ()):
            if not future.done():
                future.set_result(None)
