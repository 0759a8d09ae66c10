"""The drain of an actor that is moved to another node: new messages wait meanwhile.

Used by `actors/dispatcher_actor.py`, `actors/drain.py` and `actors/execution_actor.py`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

PATIENCE_S: Final = 2.0
"""How long messages under way may take to finish; other messages wait meanwhile."""
SHUT_S: Final = 10.0
"""After this, messages are accepted again, because the controller has not ended the process."""
_LOOK_S: Final = 0.02


class Drain:
    """Lets messages pass until it is shut; then they wait.

    A waiting message is handled when the drain opens again. If the actor ends first, its sender
    notices, and sends the message to the successor.
    """

    def __init__(self, *, patience_s: float = PATIENCE_S, shut_s: float = SHUT_S) -> None:
        """Start open; ``patience_s`` and ``shut_s`` are in seconds."""
        self._patience_s = patience_s
        self._shut_s = shut_s
        self._open = asyncio.Event()
        self._open.set()
        self._under_way = 0
        self._opening: asyncio.TimerHandle | None = None

    @property
    def is_open(self) -> bool:
        """Tell whether messages pass; one that is answered at once need not be counted."""
        return self._open.is_set()

    async def through(self, ask: Callable[[], Awaitable[bytes]]) -> bytes:
        """Run a call once the drain is open."""
        while not self._open.is_set():  # It may be shut again before this task continues.
            await self._open.wait()
        self._under_way += 1
        try:
            return await ask()
        finally:
            self._under_way -= 1

    async def shut(self, is_quiet: Callable[[], bool] = lambda: True) -> bool:
        """Let no message pass, and wait until those under way have finished.

        Returns:
            Whether they finished in time. If not, the drain is open again.
        """
        loop = asyncio.get_running_loop()
        if self._opening is not None:
            self._opening.cancel()
        self._open.clear()
        give_up = loop.time() + self._patience_s
        try:
            while self._under_way or not is_quiet():
                if loop.time() >= give_up:
                    self._open.set()
                    return False
                await asyncio.sleep(_LOOK_S)
        except BaseException:
            self._open.set()  # Otherwise waiting messages would never pass.
            raise
        self._opening = loop.call_later(self._shut_s, self._open.set)
        return True
