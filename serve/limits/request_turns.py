"""Gives those who send many requests their turns in the event loop of a replica.

A loop takes requests as they come. So who has 1,000 connections has the request of another wait
for 1,000 of its own, however little each of them costs, and also if each is refused. Therefore
each sender begins a few requests in one iteration of the loop, and the others of that sender wait,
in their order. Portions of them go on. After each, if others have sent anything within the last
second, the loop rests from those who wait for as long as the portion took, and takes what others
send. Who is alone is not slowed: then the next portion follows at once.

A sender is all keys of a workspace, any other key by name, an address from elsewhere that shows no
key, the functions of a workspace, or an artifact whose address functions were given. A portion
falls by a quarter where it took long, and grows by a tenth where it did not. Who sends less than
that never waits.

Used by `serve/middleware/entry.py`, `serve/routes/hot.py` and `serve/routes/artifacts.py`.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Final, TypeAlias

from starlette.types import Scope

from rillflow.errors import OverloadedError
from rillflow.ids import ExecutionId, workspace_of

LONG_S: Final = 0.01
"""A portion that takes longer has others wait for longer than they should."""
FALLS_TO: Final = 0.75
GROWS_BY: Final = 1.1
LEAST: Final = 10
"""Requests of each sender in an iteration, however long that takes."""
LEAST_OF_PORTION: Final = 4
"""Requests of each sender in a portion, which what others do at the same time makes long, too."""
MOST: Final = 64
"""Requests of each sender in an iteration, or a portion, at most."""
LONGEST_REST_S: Final = 0.05
OTHERS_S: Final = 1.0
"""For so long after a request of others it is not known that they send none."""
MOST_WAITING: Final = 2_000
"""While so many wait, who has no fewer waiting than others have on average is refused more."""
UNAVAILABLE: Final = 503
CallLater: TypeAlias = Callable[[float, Callable[[], None]], object]
"""Calls something after so many seconds."""
_HAS_WAITED: Final = "rillflow.has_waited"


def functions_of(execution_id: ExecutionId, *, is_sealed: bool) -> str:
    """Return the sender of what calls an execution back.

    Whoever shows a seal was called for that workspace. Without one, anybody could name it; but
    only those who were told an execution know its id.
    """
    whose = workspace_of(execution_id) if is_sealed else execution_id
    return f"functions of {whose}"


class RequestTurns:
    """The turns of those who send requests to one replica."""

    came = 0
    """Requests that have come since the last portion; whoever lets them in counts."""

    def __init__(
        self, now_s: Callable[[], float] = time.monotonic, call_later: CallLater | None = None
    ) -> None:
        """Tell the time by ``now_s``, and rest by ``call_later``; None is that of the loop."""
        self._now_s = now_s
        self._call_later = call_later
        self._begun: Counter[str] = Counter()
        self._is_counting = False
        self._most: float = MOST
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._waiting_in_all = 0
        self._waited = 0
        self._iteration_s = self._portion_s = 0.0
        self._others_s = -OTHERS_S

    def has_turn(self, sender: str) -> bool:
        """Take a turn of a sender, and tell whether it had one; if not, it has to ``wait``."""
        begun = self._begun.get(sender, 0)
        if begun >= max(self._most, LEAST) or sender in self._waiting:
            return False
        self._begun[sender] = begun + 1
        if not self._is_counting:
            self._is_counting = True
            self._iteration_s = self._now_s()
            asyncio.get_running_loop().call_soon(self._end_iteration)
        return True

    async def wait(self, sender: str, scope: Scope) -> None:
        """Have a request wait for a turn of a sender.

        Raises:
            OverloadedError: Too many wait, and as many of this sender as of others (503).
        """
        if not self._waiting:
            self.came, self._waited = 1, 0
            asyncio.get_running_loop().call_soon(self._go_on)
        elif _HAS_WAITED in scope:  # for another sender, and so it has come and waited twice
            self.came += 1
        scope[_HAS_WAITED] = True
        self._waited += 1
        waiting = self._waiting.setdefault(sender, deque())
        is_full = self._waiting_in_all >= MOST_WAITING
        if is_full and len(waiting) * len(self._waiting) >= self._waiting_in_all:
            raise OverloadedError(
                "many requests of this sender are waiting; try again later",
                http_status=UNAVAILABLE,
            )
        turn = asyncio.get_running_loop().create_future()
        waiting.append(turn)
        self._waiting_in_all += 1
        await turn

    def _end_iteration(self) -> None:
        took_s = self._now_s() - self._iteration_s
        if not self._waiting and (took_s < LONG_S or max(self._begun.values()) >= LEAST):
            self._fit(took_s)
        self._begun.clear()
        self._is_counting = False

    def _fit(self, took_s: float) -> None:
        """Fit what may begin at once to how long that took."""
        if took_s > LONG_S:
            self._most = max(self._most * FALLS_TO, LEAST_OF_PORTION)
        elif self._most < MOST:
            self._most = min(self._most * GROWS_BY, MOST)

    def _go_on(self) -> None:
        """Let a portion of each sender go on; one that has none left waits no more."""
        for sender, waiting in list(self._waiting.items()):
            if waiting:
                self._let_go_on(waiting)
            else:
                del self._waiting[sender]
        if not self._waiting:
            return
        self._portion_s = self._now_s()
        if self.came > self._waited:
            self._others_s = self._portion_s
        self.came = self._waited = 0
        # The portion begins in the next iteration, and this comes after it.
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, self._end_portion)

    def _let_go_on(self, waiting: deque[asyncio.Future[None]]) -> None:
        left = int(self._most)
        while waiting and left:
            turn = waiting.popleft()
            self._waiting_in_all -= 1
            if not turn.done():
                turn.set_result(None)
                left -= 1

    def _end_portion(self) -> None:
        now_s = self._now_s()
        took_s = now_s - self._portion_s
        self._fit(took_s)
        loop = asyncio.get_running_loop()
        if now_s - self._others_s < OTHERS_S:
            call_later = self._call_later or loop.call_later
            call_later(min(took_s, LONGEST_REST_S), self._go_on)
        else:
            loop.call_soon(self._go_on)
