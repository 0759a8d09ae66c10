"""Asking again while the store, or whoever owns what is asked for, cannot be reached."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from rillflow.errors import CrashedError, StoreError
from rillflow.ports.executions import Reply

log = logging.getLogger("rillflow.retrying")

Answer = TypeVar("Answer")

FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 5.0
LONGEST_CRASH_PAUSE_S: Final = 300.0
"""Between calls to an execution that crashes, which somebody has to see to."""


async def retry_while_unavailable(
    ask: Callable[[], Awaitable[Answer]], *, crashes_too: bool = False
) -> Answer:
    """Ask until the answer is no StoreError; the pauses between grow to 5 s.

    With ``crashes_too``, a CrashedError is no answer either; those pauses grow to 5 min.
    """
    pause_s = FIRST_PAUSE_S
    while True:
        longest_s = LONGEST_PAUSE_S
        try:
            return await ask()
        except StoreError as error:
            log.warning("store_unreachable", extra={"reason": str(error)})
        except CrashedError:
            if not crashes_too:
                raise
            longest_s = LONGEST_CRASH_PAUSE_S
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, longest_s)


async def retry_until_answered(
    ask: Callable[[], Awaitable[Reply]], *, crashes_too: bool = False
) -> Reply:
    """Make a call until it is taken or refused; with ``crashes_too``, until it does not crash."""

    async def ask_once() -> Reply:
        reply = await ask()
        has_crashed = crashes_too and reply.kind == CrashedError.code
        return reply.raise_for_error() if reply.is_unanswered or has_crashed else reply

    return await retry_while_unavailable(ask_once, crashes_too=crashes_too)
