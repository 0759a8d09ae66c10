"""How many requests of one key by name, and of one workspace, a replica works on at once.

A list or a check takes a replica milliseconds, and so does its refusal behind the routes. Hundreds
of connections of one key would have the event loop for themselves, so the next request is refused
before anything looks at it. A request counts until its answer begins: streams and downloads, which
have limits of their own, do not.

Of those that are not refused, some of a workspace are worked on, and the others wait. So whatever
they wait for together, a thread, a connection to the store or a lock, has few of each workspace
before the request of another one. What takes long has its own turns with others of its kind. It
does not keep short requests of its workspace waiting: after a while it does not count here.

The hot routes do not count. Their requests travel together and take a tenth of that, and a client
may well have hundreds of submissions under way.

Used by `serve/middleware/entry.py`.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rillflow.errors import OverloadedError
from rillflow.runtime.aio.workspace_places import WorkspacePlaces
from serve.limits.callers import Caller

MOST_OF_ONE: Final = 32
"""A browser sends six at once, for each of its users."""
AT_ONCE: Final = 4
"""So many requests of one workspace are worked on; a list is answered in milliseconds."""
SLOW_S: Final = 0.5
"""One that is worked on for longer leaves its place to the next."""


class UnansweredRequests:
    """The requests of one replica that are not answered yet, by key and by workspace."""

    def __init__(self, slow_s: float = SLOW_S) -> None:
        """Have a request leave its place to the next one after so long."""
        self._slow_s = slow_s
        self._of: Counter[str] = Counter()
        self._places = WorkspacePlaces(AT_ONCE)

    def refuse_more(self, key: str) -> None:
        """Refuse another request of a key.

        Raises:
            OverloadedError: It has as many under way as it may (429).
        """
        if self._of.get(key, 0) >= MOST_OF_ONE:
            raise OverloadedError(
                f"{MOST_OF_ONE} requests of this key are under way here; try again later"
            )

    async def passed(
        self, caller: Caller, inside: ASGIApp, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Pass a request on in its turn, and count it for its key until its answer begins."""
        key = caller.key_id
        self._of[key] += 1
        is_counted = True
        leave: Callable[[], None] = _nothing

        def end() -> None:
            nonlocal is_counted
            if is_counted:
                is_counted = False
                leave()
                self._of[key] -= 1
                if not self._of[key]:
                    del self._of[key]

        async def send_first(message: Message) -> None:
            end()
            await send(message)

        try:
            leave = await self._place(caller.share)
            await inside(scope, receive, send_first)
        finally:
            end()

    async def _place(self, share: str) -> Callable[[], None]:
        """Wait for a place; return what gives it back, also if that has happened by itself."""
        free, is_free = await self._places.take(share), False

        def leave() -> None:
            nonlocal is_free
            timer.cancel()
            if not is_free:
                is_free = True
                free()

        timer = asyncio.get_running_loop().call_later(self._slow_s, leave)
        return leave


def _nothing() -> None:
    """Give nothing back: no place was taken yet."""
