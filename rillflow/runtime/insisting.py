"""Asking again while the store, or whoever owns what is asked for, cannot be reached."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from rillflow.errors import StoreError
from rillflow.ports.executions import Reply

log = logging.getLogger("rillflow.insisting")

Answer = TypeVar("Answer")

FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 5.0


async def insist(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """Ask until the answer is no StoreError; the pauses between grow to 5 s."""
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            return await ask()
        except StoreError as error:
            log.warning("store_unreachable", extra={"reason": str(error)})
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, LONGEST_PAUSE_S)


async def insist_on_reply(ask: Callable[[], Awaitable[Reply]]) -> Reply:
    """Make a call until it is taken or refused."""

    async def ask_once() -> Reply:
        reply = await ask()
        return reply.raise_for_error() if reply.kind.startswith("store.") else reply

    return await insist(ask_once)
