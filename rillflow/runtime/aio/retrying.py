"""Retrying while the store, or another process, is unavailable.

For calls that may be repeated and must be answered in the end. It knows which errors pass by
themselves, and nothing of what is called; `rillflow/backoff.py` computes the pauses.

Used by `runtime/activation`, `runtime/commands`, `runtime/dispatch` and `runtime/owner`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from rillflow.backoff import Backoff
from rillflow.errors import (
    CrashedError,
    DamagedError,
    DefectError,
    RillflowError,
    StoreError,
    UnavailableError,
)
from rillflow.ports.executions import Reply

log = logging.getLogger("rillflow.retrying")

Answer = TypeVar("Answer")

FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 5.0
LONGEST_CRASH_PAUSE_S: Final = 300.0
"""The longest pause after crashes, defects and damage, which need an operator."""


async def retry_while_unavailable(
    ask: Callable[[], Awaitable[Answer]], *, crashes_too: bool = False, defects_too: bool = True
) -> Answer:
    """Retry until the store, and the process that is called, have answered.

    For calls that must not be lost and may be repeated. The pauses grow to 5 s; after a DefectError
    or a DamagedError, which waiting alone does not repair, to 5 min. With ``crashes_too``, a
    CrashedError is treated as a DefectError.

    Raises:
        RillflowError: The refusal. A DefectError is one where ``defects_too`` is False.
    """
    backoff = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
    while True:
        try:
            return await ask()
        except (StoreError, UnavailableError, DefectError) as error:
            if isinstance(error, DefectError) and not defects_too:
                raise
            longest_s = longest_pause_s(error)
            log.warning("asked_again", extra={"code": error.code, "reason": str(error)})
        except CrashedError:
            if not crashes_too:
                raise
            longest_s = LONGEST_CRASH_PAUSE_S
        await asyncio.sleep(backoff.next_s(longest_s))


def longest_pause_s(error: RillflowError) -> float:
    """Return the longest pause after an error, in seconds."""
    needs_somebody = isinstance(error, DefectError | DamagedError)
    return LONGEST_CRASH_PAUSE_S if needs_somebody else LONGEST_PAUSE_S


async def retry_until_answered(
    ask: Callable[[], Awaitable[Reply]], *, crashes_too: bool = False
) -> Reply:
    """Repeat a call until it is accepted or refused; ``crashes_too`` retries crashes."""

    async def ask_once() -> Reply:
        reply = await ask()
        has_crashed = crashes_too and reply.kind == CrashedError.code
        return reply.raise_for_error() if reply.is_unanswered or has_crashed else reply

    return await retry_while_unavailable(ask_once, crashes_too=crashes_too)
