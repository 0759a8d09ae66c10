"""The drain of an actor: while it is moved to another node, messages wait.

It must not know what a message means, and counts none: whoever handles messages says which of them
are under way. So while the drain is open, a message does not pass through this module.

Used by `actors/dispatcher_actor.py`, `actors/lifecycle/drain.py` and `runtime/endpoints`.
"""

import asyncio
from typing import Final, Protocol

PATIENCE_S: Final = 2.0
"""How long what is under way may take to finish; other messages wait meanwhile."""
SHUT_S: Final = 10.0
"""After this, messages are accepted again, because the controller has not ended the process."""
_LOOK_S: Final = 0.02


class UnfinishedWork(Protocol):
    """What an actor does for others, which is to end before it does."""

    def __len__(self) -> int:
        """Return how many messages or calls are under way."""
        ...

    def unfinished(self) -> list[str]:
        """Tell operators which ones are, in words."""
        ...


class Drain:
    """Lets messages pass until it is shut; then they wait.

    A waiting message is handled when the drain opens again. If the actor ends first, its sender
    notices, and sends the message to the successor.

    Attributes:
        is_open: Whether messages pass; whoever handles one waits for ``opened`` otherwise.
        unfinished: What did not finish in time when this was to be shut last, in words.
    """

    def __init__(self, *, patience_s: float = PATIENCE_S, shut_s: float = SHUT_S) -> None:
        """Start open; ``patience_s`` and ``shut_s`` are in seconds."""
        self._patience_s = patience_s
        self._shut_s = shut_s
        self.is_open = True
        self._opened = asyncio.Event()
        self._opening: asyncio.TimerHandle | None = None
        self.unfinished: list[str] = []

    async def opened(self) -> None:
        """Wait until messages pass."""
        while not self.is_open:  # It may be shut again before this task continues.
            await self._opened.wait()

    async def shut(self, calls: UnfinishedWork) -> bool:
        """Let no message pass, and wait until what is under way has finished.

        Returns:
            Whether it finished in time. If not, the drain is open again, and ``unfinished`` tells
            what has not.
        """
        loop = asyncio.get_running_loop()
        if self._opening is not None:
            self._opening.cancel()
        self.is_open = False
        self._opened.clear()
        self.unfinished = []
        give_up = loop.time() + self._patience_s
        try:
            while len(calls):
                if loop.time() >= give_up:
                    self._open()
                    self.unfinished = calls.unfinished()
                    return False
                await asyncio.sleep(_LOOK_S)
        except BaseException:
            self._open()  # Otherwise waiting messages would never pass.
            raise
        self._opening = loop.call_later(self._shut_s, self._open)
        return True

    def _open(self) -> None:
        self.is_open = True
        self._opened.set()
