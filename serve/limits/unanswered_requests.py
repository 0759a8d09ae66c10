"""How many requests of one key by name a replica works on at once.

A list or a check takes a replica milliseconds, and so does its refusal behind the routes. Hundreds
of connections of one key would have the event loop for themselves, so the next request is refused
before anything looks at it. A request counts until its answer begins: streams and downloads, which
have limits of their own, do not.

The hot routes do not count. Their requests travel together and take a tenth of that, and a client
may well have hundreds of submissions under way.

Used by `serve/middleware/entry.py`.
"""

from collections import Counter
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rillflow.errors import OverloadedError

MOST_OF_ONE: Final = 32
"""A browser sends six at once, for each of its users."""


class UnansweredRequests:
    """The requests of one replica that are not answered yet, by key."""

    def __init__(self) -> None:
        self._of: Counter[str] = Counter()

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
        self, key: str, inside: ASGIApp, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Pass a request on, and count it for its key until its answer begins."""
        self._of[key] += 1
        is_counted = True

        def end() -> None:
            nonlocal is_counted
            if is_counted:
                is_counted = False
                self._of[key] -= 1
                if not self._of[key]:
                    del self._of[key]

        async def send_first(message: Message) -> None:
            end()
            await send(message)

        try:
            await inside(scope, receive, send_first)
        finally:
            end()
