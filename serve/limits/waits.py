"""Requests that wait for the end of an execution: how many may wait, and for how long.

A wait costs little but its place among the requests of a replica, whose number is limited. If waits
took all places, health checks and callbacks would have none. A request that finds no place is
answered at once, as if its time were over; its caller sees that the execution goes on, and asks
again. ``routes/hot.py`` calls this module. It must not know how an end is waited for.

Used by `serve/routes/hot.py` and `serve/routes/webhooks/requests.py`.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Scope

from rillflow.errors import RequestError, RillflowError
from rillflow.settings import Settings
from serve.limits.callers import share_of, share_of_places

LOOK_S: Final = 1.0
"""Age from which a wait ends when its client disconnects, or its key; most waits are shorter."""


class Wait:
    """A request that waits, and its task, which is cancelled when its client or key has gone.

    As a context manager it holds its place until it is left, and raises ClientDisconnect when
    the client has disconnected meanwhile, RequestError when its key or session has ended.
    """

    __slots__ = ("_waits", "began_s", "ended_by", "request", "share", "task", "watches")

    def __init__(
        self,
        waits: "Waits",
        request: Request,
        task: asyncio.Task[object],
        share: str,
        began_s: float,
    ) -> None:
        self._waits = waits
        self.request = request
        self.task = task
        self.share = share
        self.began_s = began_s
        self.ended_by: Exception | None = None
        self.watches: list[asyncio.Task[None]] = []

    def __enter__(self) -> None:
        """Begin to wait."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release the place."""
        self._waits.end(self)
        if (
            self.ended_by is not None
            and isinstance(error, asyncio.CancelledError)
            and not self.task.uncancel()
        ):
            ended_by, self.ended_by = self.ended_by, None
            try:
                raise ended_by from None
            finally:
                del ended_by  # its traceback has this frame: they would keep each other

    def watch(self, ends: Iterable[Awaitable[None]]) -> None:
        """End the wait when its client disconnects, or with what lets it wait."""
        watches = [self._until_left(), *(self._end_after(end) for end in ends)]
        self.watches += [self.task.get_loop().create_task(each) for each in watches]

    async def _end_after(self, end: Awaitable[None]) -> None:
        await end
        self._end(RequestError("the API key, or the session, has ended", http_status=401))

    def _end(self, error: Exception) -> None:
        if self.ended_by is None:
            self.ended_by = error
            self.task.cancel()

    async def _until_left(self) -> None:
        message: Message = {"type": "http.request"}
        with contextlib.suppress(RillflowError):  # of a body that nobody reads
            while message["type"] != "http.disconnect":
                message = await self.request.receive()
            self._end(ClientDisconnect())


class Waits:
    """The waits of one replica.

    Callers with the key of the settings, and this machine's, have all places; each key by name and
    each other address has a share.

    Args:
        settings: How many may wait.
        ends_of: Returns what a request must not outlast, such as the validity of its key.
    """

    def __init__(
        self,
        settings: Settings,
        ends_of: Callable[[Scope], Iterable[Awaitable[None]]] = lambda _: (),
    ) -> None:
        self._ends_of = ends_of
        self._most = settings.waiting_requests
        self._most_of_one = settings.waiting_requests_per_address
        self._waits: dict[Wait, None] = {}  # the oldest first
        self._of_one: Counter[str] = Counter()
        self._looks = False

    def __len__(self) -> int:
        return len(self._waits)

    def begin(self, request: Request) -> Wait | None:
        """Return a wait, which holds a place until it is left; None where there is none."""
        if len(self._waits) >= self._most:
            return None
        scope = request.scope
        share = share_of(scope)
        waiting = self._of_one.get(share, 0)
        if waiting >= share_of_places(share, self._most, self._most_of_one):
            return None
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - requests are answered by tasks
        loop = task.get_loop()
        wait = Wait(self, request, task, share, loop.time())
        self._waits[wait] = None
        self._of_one[share] = waiting + 1
        if not self._looks:
            self._looks = True
            loop.call_later(LOOK_S, self._look, loop)
        return wait

    def end(self, wait: Wait) -> None:
        """Release the place of a wait."""
        del self._waits[wait]
        self._of_one[wait.share] -= 1
        if not self._of_one[wait.share]:
            del self._of_one[wait.share]
        for watch in wait.watches:
            watch.cancel()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch long waits only: watching all of them would slow all down."""
        young_from_s = loop.time() - LOOK_S
        for wait in reversed(self._waits):
            if wait.watches:
                break  # those before it are older, and watched
            if wait.began_s <= young_from_s:
                wait.watch(self._ends_of(wait.request.scope))
        self._looks = bool(self._waits)
        if self._looks:
            loop.call_later(LOOK_S, self._look, loop)
