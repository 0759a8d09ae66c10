"""The memory budget of one dispatcher for answers: read, unpacked, and on their way to owners.

An answer may be 10 MiB, packed in a few bytes, and hundreds may arrive at once. So the reader of a
large answer first takes room for its largest size, and waits if there is none: its connection is
not read meanwhile, which slows the peer down. No reader waits for anything else while it holds
room, so every answer with room completes.
"""

import asyncio
from collections import Counter
from typing import NamedTuple, TypeAlias

from rillflow.ids import ExecutionId, TaskName

CallId: TypeAlias = tuple[ExecutionId, TaskName, int, int]


class _Room(NamedTuple):
    host: str
    size_bytes: int


class _Waiting(NamedTuple):
    call: CallId
    room: _Room
    granted: "asyncio.Future[None]"


class AnswerBudget:
    """Counts answers from the first large piece that is read until an owner has accepted them.

    Room is given in the order of requests. One host has at most half of it while its answers are
    read, so that a slow host leaves room for others. A single answer always gets room, however
    large it is.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._most_of_host = most_bytes // 2
        self._rooms: dict[CallId, _Room] = {}
        self._of_host: Counter[str] = Counter()
        self._read_bytes = 0
        self._kept: dict[CallId, int] = {}
        self._kept_bytes = 0
        self._waiting: list[_Waiting] = []
        self._free = asyncio.Event()
        self._free.set()

    @property
    def bytes(self) -> int:
        """The bytes that are taken: room of answers being read, and complete answers."""
        return self._read_bytes + self._kept_bytes

    def reserve(self, call: CallId, host: str, size_bytes: int) -> "asyncio.Future[None] | None":
        """Take room for an answer; return None, or a future if it has to wait.

        A caller that stops waiting cancels the future. Room that the call had before is returned.
        """
        self.release(call)
        room = _Room(host, size_bytes)
        if not self._waiting and self._fits(room):
            self._enter(call, room)
            return None
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(call, room, granted))
        self._grant()
        return None if granted.done() else granted

    def has_room(self, call: CallId) -> bool:
        """Tell whether the answer of a call has room."""
        return call in self._rooms

    def shrink(self, call: CallId, size_bytes: int) -> None:
        """Return the room that an answer does not need."""
        room = self._rooms.get(call)
        if room is not None and size_bytes < room.size_bytes:
            self._leave(call, room)
            self._enter(call, room._replace(size_bytes=size_bytes))
            self._grant()

    def release(self, call: CallId) -> None:
        """Release the room of a call, if it has any."""
        room = self._rooms.get(call)
        if room is not None:
            self._leave(call, room)
            self._grant()

    def keep(self, call: CallId, size_bytes: int) -> None:
        """Count a complete answer, in place of its room, until it is ``taken``."""
        self._kept_bytes += size_bytes - self._kept.pop(call, 0)
        self._kept[call] = size_bytes
        if self._kept_bytes >= self._most:
            self._free.clear()
        if self._rooms:
            self.release(call)

    def taken(self, call: CallId) -> None:
        """Stop counting an answer."""
        self._kept_bytes -= self._kept.pop(call, 0)
        if self._kept_bytes < self._most and not self._free.is_set():
            self._free.set()
        if self._waiting:
            self._grant()

    @property
    def is_full(self) -> bool:
        """Tell whether complete answers alone fill the budget."""
        return not self._free.is_set()

    async def until_free(self) -> None:
        """Wait until they no longer do; another call would only add to them."""
        await self._free.wait()

    def _fits(self, room: _Room) -> bool:
        return not self.bytes or (
            self.bytes + room.size_bytes <= self._most and self._fits_host(room)
        )

    def _fits_host(self, room: _Room) -> bool:
        of_host = self._of_host[room.host]
        return not of_host or of_host + room.size_bytes <= self._most_of_host

    def _enter(self, call: CallId, room: _Room) -> None:
        self._rooms[call] = room
        self._of_host[room.host] += room.size_bytes
        self._read_bytes += room.size_bytes

    def _leave(self, call: CallId, room: _Room) -> None:
        del self._rooms[call]
        self._read_bytes -= room.size_bytes
        self._of_host[room.host] -= room.size_bytes
        if not self._of_host[room.host]:
            del self._of_host[room.host]

    def _grant(self) -> None:
        """Give room to waiting readers in order; a host at its share is passed over."""
        still: list[_Waiting] = []
        is_full = False
        for waiting in self._waiting:
            if waiting.granted.done():  # its reader has been cancelled
                continue
            if is_full or not self._fits(waiting.room):
                is_full = is_full or self._fits_host(waiting.room)
                still.append(waiting)
                continue
            self._enter(waiting.call, waiting.room)
            waiting.granted.set_result(None)
        self._waiting = still
