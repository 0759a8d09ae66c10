"""The reading of one answer: the room that it takes, and the time for which it may wait.

Used by `gateways/http/gateway.py`.
"""

import asyncio
from functools import partial

from rillflow.gateways.http_client.connection import SMALL_BYTES, room_after
from rillflow.gateways.http_client.content_encoding import Unpacking
from rillflow.gateways.limits.answer_budget import AnswerBudget, CallId
from rillflow.gateways.limits.call_timeout import CallTimeout
from rillflow.gateways.outbound.threads import computed, in_thread
from rillflow.ids import workspace_of


class Reading:
    """Takes room for one answer from the budget.

    The time for which an answer waits for room does not count for its call, up to ``patience_s`` in
    all: the function has answered, but the call must end.

    Attributes:
        is_slow: Whether it was given up because its bytes came too slowly.
        is_complete: Whether the answer has been read to its end.
        is_over: Whether the call has ended.
    """

    is_slow = False
    is_complete = False
    is_over = False
    _waits: "asyncio.Future[None] | None" = None

    def __init__(
        self,
        budget: AnswerBudget,
        call: CallId,
        origin: str,
        limit: CallTimeout,
        patience_s: float,
    ) -> None:
        """``limit`` is the time-out of the call."""
        self._budget = budget
        self._call = call
        self._origin = origin
        self._limit = limit
        self._patience_s = patience_s

    @property
    def is_waiting(self) -> bool:
        """Whether there was no room for it to the end."""
        return self._waits is not None

    def take(self, size_bytes: int) -> "asyncio.Future[None] | None":
        """Take room for so many bytes; return None, or a future if it has to wait."""
        give_up = None if self.is_complete else self._give_up
        host = _host_of(self._origin)
        waits = self._budget.reserve(self._call, host, size_bytes, give_up)
        until_s = self._limit.when()
        if waits is not None and until_s is not None:
            self._wait(waits, until_s)
        return waits

    def complete(self) -> None:
        """Note that the answer has been read to its end."""
        self.is_complete = True
        self._budget.arrived(self._call)

    async def unpacked(self, body: bytes, encoding: str, most_bytes: int) -> bytes:
        """Unpack a body, of which a few bytes may become megabytes, as far as there is room."""
        unpacking = Unpacking(body, encoding, most_bytes=most_bytes)
        until, workspace = min(SMALL_BYTES, most_bytes), workspace_of(self._call[0])
        is_done = await computed(len(body), lambda: unpacking.go_on(until), workspace=workspace)
        while not is_done:
            until = room_after(until, most_bytes)
            waits = self.take(len(body) + until)
            if waits is not None:
                await waits
            is_done = await in_thread(partial(unpacking.go_on, until), workspace=workspace)
        return await computed(unpacking.size_bytes, unpacking.text, workspace=workspace)

    def _wait(self, waits: "asyncio.Future[None]", until_s: float) -> None:
        """Let the call end later while it waits."""
        loop = asyncio.get_running_loop()
        limit, begun_s = self._limit, loop.time()
        last_s = until_s + self._patience_s
        limit.reschedule(last_s)
        self._waits = waits

        def go_on(_: object) -> None:
            if self.is_over or limit.expired() or limit.when() != last_s:
                return
            self._waits = None
            waited_s = loop.time() - begun_s
            self._patience_s = max(0.0, self._patience_s - waited_s)
            limit.reschedule(until_s + waited_s)

        waits.add_done_callback(go_on)

    def _give_up(self) -> None:
        if not self.is_over and not self._limit.expired():
            self.is_slow = True
            self._limit.reschedule(asyncio.get_running_loop().time())


def _host_of(origin: str) -> str:
    """Return the host of an origin: its ports share the room of a host."""
    return origin.partition("://")[2].rpartition(":")[0] or origin
