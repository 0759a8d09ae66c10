"""The gate of an owner's answers: closed for good once another owner has taken over.

Used by `actors/execution_actor.py`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn, TypeVar

Answer = TypeVar("Answer")


class AnswerGate:
    """Lets answers, and refusals, pass until it is closed; from then on nobody is answered.

    What a replaced owner answers is out of date. A caller without an answer repeats its call when
    the process of this owner has ended, and reaches the new owner.
    """

    def __init__(self) -> None:
        self._is_closed = False

    @property
    def is_closed(self) -> bool:
        """Tell whether nobody is answered any more."""
        return self._is_closed

    def close(self) -> None:
        """Answer nobody from now on; the process is about to end."""
        self._is_closed = True

    async def through(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """Handle a call, and return its answer or raise its error, unless the gate is closed."""
        if self._is_closed:
            await _forever()
        try:
            answer = await ask()
        except Exception:
            if self._is_closed:
                await _forever()
            raise
        if self._is_closed:
            await _forever()
        return answer


async def _forever() -> NoReturn:
    while True:
        await asyncio.Event().wait()
