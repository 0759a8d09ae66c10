"""The callers' side of waiting: all callers of a process share one long poll per owner.

Used by `runtime`, `runtime/completion` and `runtime/routing`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import msgspec
from msgspec.structs import replace

from rillflow.errors import DefectError, NotOwnerError, RillflowError
from rillflow.ids import ExecutionId
from rillflow.ports.executions import End, Reply, Submission, Watch
from rillflow.ports.messages import AwaitEnds

log = logging.getLogger("rillflow.completion")

_Seen: TypeAlias = bytes | DefectError | NotOwnerError | None
"""The view of an end, or an error in its place."""
_Futures: TypeAlias = dict[ExecutionId, dict["asyncio.Future[_Seen]", str]]
"""The callers that wait for an execution, and the view of its end that they want."""

ASK_S = 20.0
PAUSE_S = 0.2


class Ended(msgspec.Struct, frozen=True, array_like=True):
    """An execution that has ended; ``body`` answers a query of the kind ``show``."""

    execution_id: ExecutionId
    show: str = ""
    body: bytes | None = None


class News(msgspec.Struct, frozen=True, array_like=True):
    """The answer of an owner to a watcher: the token of its process, and what has ended."""

    life: str
    ended: list[Ended]


_news_decoder = msgspec.msgpack.Decoder(News)


def encode_news(news: News) -> bytes:
    """Encode the answer."""
    return msgspec.msgpack.encode(news)


def decode_news(data: bytes) -> News:
    """Decode the answer."""
    return _news_decoder.decode(data)


class CompletionClient:
    """The callers of one process that wait for executions of one owner.

    One query is open at the owner while any caller waits. A restarted owner has forgotten its
    watchers, so it is told again.
    """

    def __init__(
        self,
        watcher: str,
        call: Callable[[Watch | Submission], Awaitable[Reply]],
        ask: Callable[[AwaitEnds], Awaitable[News]],
    ) -> None:
        self._watcher = watcher
        self._call = call
        self._ask = ask
        self._life: str | None = None
        self._told: str | None = None
        self._heard: list[ExecutionId] = []
        self._waiting: _Futures = {}
        self._starting: _Futures = {}
        self._untold: dict[ExecutionId, None] = {}  # a set has no order to repeat
        self._asking: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    async def wait(self, execution_id: ExecutionId, timeout_s: float, show: str = "") -> End:
        """Wait for the end; return the view that ``show`` asks for if the news contains it.

        Raises:
            RillflowError: The owner refused, could not be reached, or met a defect.
        """
        watch = Watch(execution_id=execution_id, watcher=self._watcher, show=show)
        future: asyncio.Future[_Seen] = asyncio.get_running_loop().create_future()
        _enter(self._waiting, execution_id, future, show)
        try:
            return await self._see(watch, future, timeout_s)
        finally:
            _leave(self._waiting, execution_id, future)

    async def run(self, submission: Submission, timeout_s: float, show: str) -> tuple[Reply, End]:
        """Submit and wait for the end.

        News may arrive before the reply. Until the reply is there, a restarted owner is not told
        again: it would report an execution that it does not know yet as ended.

        Raises:
            RillflowError: The owner could not be reached.
        """
        execution_id = submission.execution_id
        future: asyncio.Future[_Seen] = asyncio.get_running_loop().create_future()
        _enter(self._starting, execution_id, future, show)
        life = self._life
        try:
            reply = await self._call(replace(submission, watcher=self._watcher, show=show))
            if reply.error is not None:
                return reply, End(has_ended=False)
            _enter(self._waiting, execution_id, future, show)
            if reply.changed and life == self._life:
                return reply, await self._until(future, timeout_s)
            watch = Watch(execution_id=execution_id, watcher=self._watcher, show=show)
            return reply, await self._see(watch, future, timeout_s)
        finally:
            _leave(self._starting, execution_id, future)
            _leave(self._waiting, execution_id, future)

    async def _see(self, watch: Watch, future: "asyncio.Future[_Seen]", timeout_s: float) -> End:
        # A confirmation of an earlier end would be taken for one of the next, after a redo.
        self._heard = [each for each in self._heard if each != watch.execution_id]
        reply = (await self._call(watch)).raise_for_error()
        if not reply.changed:
            return End(has_ended=True, body=reply.body)
        return await self._until(future, timeout_s)

    async def _until(self, future: "asyncio.Future[_Seen]", timeout_s: float) -> End:
        if self._asking is None:
            self._asking = asyncio.create_task(self._run())
        await asyncio.wait((future,), timeout=timeout_s)
        if not future.done():
            return End(has_ended=False)
        seen = future.result()
        if isinstance(seen, DefectError | NotOwnerError):
            raise seen
        return End(has_ended=True, body=seen)

    async def _run(self) -> None:
        try:
            while self._waiting:
                try:
                    if self._told != self._life or self._untold:
                        await self._watch_again()
                    question = AwaitEnds(self._watcher, ASK_S, self._heard, self._told or "")
                    self._hear(await self._ask(question))
                except (DefectError, NotOwnerError) as error:
                    self._fail(error)
                except RillflowError:
                    await asyncio.sleep(PAUSE_S)
                except Exception:
                    log.exception("question_failed", extra={"waiting": len(self._waiting)})
                    await asyncio.sleep(PAUSE_S)
        finally:
            self._asking = None

    def _fail(self, error: DefectError | NotOwnerError) -> None:
        """Fail all waiting callers, because the owner cannot answer and a retry would not help."""
        for execution_id in list(self._waiting):
            self._fail_one(execution_id, error)

    def _fail_one(self, execution_id: ExecutionId, error: DefectError | NotOwnerError) -> None:
        for future in self._waiting.pop(execution_id, {}):
            if not future.done():
                # A result, because the waiting caller may have left; a new error for each caller.
                future.set_result(type(error)(*error.args))

    def _hear(self, news: News) -> None:
        self._heard = [ended.execution_id for ended in news.ended]
        self._life = news.life
        for ended in news.ended:
            self._resolve(ended)

    async def _watch_again(self) -> None:
        """Tell a restarted owner of every execution that callers wait for.

        This is done for the first process heard of, too: earlier watches may have gone to another
        one. What the owner cannot read now is repeated with each query.
        """
        life = self._life
        if self._told != life:
            self._untold.update(dict.fromkeys(self._waiting))
        asked = [each for each in self._untold if each in self._waiting]
        watches = [Watch(execution_id=each, watcher=self._watcher) for each in asked]
        replies = await asyncio.gather(*map(self._watch_or_moved, watches))
        for reply in replies:
            if isinstance(reply, Reply) and reply.is_unanswered:
                reply.raise_for_error()
        self._untold.clear()
        for execution_id, reply in zip(asked, replies, strict=True):
            if isinstance(reply, NotOwnerError):
                self._fail_one(execution_id, reply)
            elif reply.error is not None:
                self._untold[execution_id] = None
            elif not reply.changed:
                self._resolve(Ended(execution_id))
        self._told = life

    async def _watch_or_moved(self, watch: Watch) -> Reply | NotOwnerError:
        try:
            return await self._call(watch)
        except NotOwnerError as error:
            return error

    def _resolve(self, ended: Ended) -> None:
        for futures in (self._starting, self._waiting):
            for future, show in futures.get(ended.execution_id, {}).items():
                if not future.done():
                    future.set_result(ended.body if show == ended.show else None)
        # Waiting callers leave a little later; no query is needed for them meanwhile.
        self._waiting.pop(ended.execution_id, None)


def _enter(
    futures: _Futures, execution_id: ExecutionId, future: "asyncio.Future[_Seen]", show: str
) -> None:
    futures.setdefault(execution_id, {})[future] = show


def _leave(futures: _Futures, execution_id: ExecutionId, future: "asyncio.Future[_Seen]") -> None:
    theirs = futures.get(execution_id, {})
    theirs.pop(future, None)
    if not theirs:
        futures.pop(execution_id, None)
