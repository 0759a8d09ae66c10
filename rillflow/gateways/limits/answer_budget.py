"""The memory budget of one dispatcher for answers: read, unpacked, and on their way to owners.

An answer may be 10 MiB, packed in a few bytes, and hundreds may arrive at once. So the reader of an
answer that is not small takes room as its bytes come, and waits if there is none: its connection is
not read meanwhile, which slows the peer down.

Used by `gateways/http/reading.py`, `ray_tasks` and `runtime/dispatch/pool.py`.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, TypeAlias

from rillflow.ids import ExecutionId, TaskName

CallId: TypeAlias = tuple[ExecutionId, TaskName, int, int]

PATIENCE_S: Final = 10.0
"""How late bytes may be for which an answer has room."""
_LOOKS: Final = 10
"""How often it is looked in that time for answers that are late, while others wait."""


class _Room:
    """Room of one answer; ``due_s`` is when its reader must have filled it."""

    __slots__ = ("due_s", "give_up", "host", "size_bytes")

    def __init__(self, host: str) -> None:
        self.host = host
        self.size_bytes = 0
        self.due_s: float | None = None
        self.give_up: Callable[[], None] | None = None


class _Waiting(NamedTuple):
    call: CallId
    host: str
    size_bytes: int
    give_up: Callable[[], None] | None
    granted: "asyncio.Future[None]"


class AnswerBudget:
    """Counts answers from the first large piece that is read until an owner has accepted them.

    Readers hold room while they wait for more of it, so somebody must always come to an end: the
    one that has had room for longest gets what it asks for, out of an eighth of the budget that
    others leave, and beyond the budget if it must and no answer is complete.

    A host has at most as much as it leaves free: the first one half of the room, the next one half
    of the rest. So some hosts that answer slowly leave room for others. A reader waits for others
    of its own host, and does not hold up those of other hosts; who has nothing at all is next.

    While readers wait, those that are late give up: they have not received what they have room for
    at ``min_bytes_per_s`` and some seconds. Of the late ones, those of the host that holds most.
    """

    def __init__(
        self,
        most_bytes: int,
        min_bytes_per_s: float = 0.0,
        *,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """Hold so many bytes; a rate of 0 lets readers be as slow as they like."""
        self._patience_s = patience_s
        self._most = most_bytes
        self._most_shared = most_bytes - most_bytes // 8
        self._min_bytes_per_s = min_bytes_per_s
        self._rooms: dict[CallId, _Room] = {}
        self._of_host: Counter[str] = Counter()
        self._read_bytes = 0
        self._kept: dict[CallId, int] = {}
        self._kept_bytes = 0
        self._waiting: list[_Waiting] = []
        self._looking: asyncio.TimerHandle | None = None
        self._free = asyncio.Event()
        self._free.set()

    @property
    def bytes(self) -> int:
        """The bytes that are taken: room of answers being read, and complete answers."""
        return self._read_bytes + self._kept_bytes

    def reserve(
        self,
        call: CallId,
        host: str,
        size_bytes: int,
        give_up: Callable[[], None] | None = None,
    ) -> "asyncio.Future[None] | None":
        """Take room for an answer; return None, or a future if it has to wait.

        A caller that stops waiting cancels the future.

        Args:
            call: The call. What it has already is kept, and counts.
            host: Whose answer it is.
            size_bytes: The room that it shall have in all.
            give_up: Ends the reading of an answer that comes too slowly; None where there is no
                peer to wait for.
        """
        asked = _Waiting(
            call, host, size_bytes, give_up, asyncio.get_running_loop().create_future()
        )
        if not self._waiting and self._fits(asked):
            self._enter(asked)
            return None
        self._waiting.append(asked)
        room = self._rooms.get(call)
        if room is not None:
            room.due_s = None  # it is not its peer that it waits for
        self._grant()
        if asked.granted.done():
            return None
        self._look_later()
        return asked.granted

    def arrived(self, call: CallId) -> None:
        """Note that an answer has been read to its end, so that nobody waits for its peer."""
        room = self._rooms.get(call)
        if room is not None:
            room.due_s = None

    def release(self, call: CallId) -> None:
        """Release the room of a call, if it has any."""
        room = self._rooms.pop(call, None)
        if room is not None:
            self._count(room.host, -room.size_bytes)
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

    def _fits(self, asked: _Waiting) -> bool:
        room = self._rooms.get(asked.call)
        has = room.size_bytes if room else 0
        more = asked.size_bytes - has
        if more <= 0 or self.bytes == has:
            return True
        if room is not None and self._eldest() is room:
            # Complete answers leave by themselves; readers that wait for readers would not.
            return not self._kept_bytes or self.bytes + more <= self._most
        free = self._most_shared - self.bytes - more
        return self._of_host[asked.host] + more <= free

    def _eldest(self) -> _Room | None:
        rooms: Iterator[_Room] = iter(self._rooms.values())
        return next(rooms, None)

    def _enter(self, asked: _Waiting) -> None:
        room = self._rooms.get(asked.call)
        if room is None:
            room = self._rooms[asked.call] = _Room(asked.host)
        more = max(0, asked.size_bytes - room.size_bytes)
        room.size_bytes += more
        self._count(room.host, more)
        room.due_s, room.give_up = None, asked.give_up
        if asked.give_up is not None and self._min_bytes_per_s:
            now_s = asyncio.get_running_loop().time()
            room.due_s = now_s + self._patience_s + more / self._min_bytes_per_s

    def _count(self, host: str, size_bytes: int) -> None:
        self._read_bytes += size_bytes
        self._of_host[host] += size_bytes
        if not self._of_host[host]:
            del self._of_host[host]

    def _grant(self) -> None:
        """Give room to waiting readers in order.

        Only one whose host has nothing keeps later ones from what is free.
        """
        still: list[_Waiting] = []
        is_next = False
        for asked in self._waiting:
            if asked.granted.done():  # its reader has been cancelled
                continue
            if is_next or not self._fits(asked):
                is_next = is_next or not self._of_host[asked.host]
                still.append(asked)
                continue
            self._enter(asked)
            asked.granted.set_result(None)
        self._waiting = still

    def _look_later(self) -> None:
        if self._looking is None:
            loop = asyncio.get_running_loop()
            self._looking = loop.call_later(self._patience_s / _LOOKS, self._look)

    def _look(self) -> None:
        """End the reading of answers that are late, if others wait."""
        self._looking = None
        self._grant()
        if not self._waiting:
            return
        self._look_later()
        now_s = asyncio.get_running_loop().time()
        late = [
            room for room in self._rooms.values() if room.due_s is not None and room.due_s < now_s
        ]
        if late:
            host = max((room.host for room in late), key=self._of_host.__getitem__)
            for room in late:
                if room.host == host and room.give_up is not None:
                    room.due_s = None
                    room.give_up()
