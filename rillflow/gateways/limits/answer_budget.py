"""The bytes of functions' answers that one dispatcher holds: read, unpacked, and on their way.

An answer may hold 10 MiB, packed in a few bytes, and hundreds may come at once. So whoever reads
a large one first takes room for all that it may become, and waits where there is none: its
connection is not read meanwhile, which the other side notices. Nobody waits while holding room
for something else, so what has room always comes to its end.
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
    """Counts answers from the first large piece that is read until an owner has taken them.

    Room is given in the order in which it was asked for. One host has no more than half of it
    while its answers are read, so that one that is slow leaves room for the others. A single
    answer always has room, however large it is.
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
        """How much is taken: room of answers that are read, and answers that are there."""
        return self._read_bytes + self._kept_bytes

    def reserve(self, call: CallId, host: str, size_bytes: int) -> "asyncio.Future[None] | None":
        """Take room for an answer; None when it is there, else what is done once it is.

        Whoever gives up cancels that. What a call had before is given back.
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
        """Tell whether room was taken for the answer of a call."""
        return call in self._rooms

    def shrink(self, call: CallId, size_bytes: int) -> None:
        """Give back what an answer does not take."""
        room = self._rooms.get(call)
        if room is not None and size_bytes < room.size_bytes:
            self._leave(call, room)
            self._enter(call, room._replace(size_bytes=size_bytes))
            self._grant()

    def release(self, call: CallId) -> None:
        """Give the room of a call back, if it has any."""
        room = self._rooms.get(call)
        if room is not None:
            self._leave(call, room)
            self._grant()

    def keep(self, call: CallId, size_bytes: int) -> None:
        """Count an answer that is there, in place of its room, until it is ``taken``."""
        self._kept_bytes += size_bytes - self._kept.pop(call, 0)
        self._kept[call] = size_bytes
        if self._kept_bytes >= self._most:
            self._free.clear()
        if self._rooms:
            self.release(call)

    def taken(self, call: CallId) -> None:
        """Count an answer no longer."""
        self._kept_bytes -= self._kept.pop(call, 0)
        if self._kept_bytes < self._most and not self._free.is_set():
            self._free.set()
        if self._waiting:
            self._grant()

    @property
    def is_full(self) -> bool:
        """Tell whether the answers that are there alone take everything."""
        return not self._free.is_set()

    async def until_free(self) -> None:
        """Wait until they do no longer: another call would only bring more."""
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
        """Give room to those who wait, in their order; a host that has its share lets others by."""
        still: list[_Waiting] = []
        is_full = False
        for waiting in self._waiting:
            if waiting.granted.done():  # its reader has given up
                continue
            if is_full or not self._fits(waiting.room):
                is_full = is_full or self._fits_host(waiting.room)
                still.append(waiting)
                continue
            self._enter(waiting.call, waiting.room)
            waiting.granted.set_result(None)
        self._waiting = still
