"""Threads for work on large texts, so that the event loop is not blocked.

What is short is computed at once. The work must not touch what the event loop changes meanwhile.

Used by `gateways`, `runtime/activation`, `runtime/submission/intake.py` and `serve/routes`.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

Result = TypeVar("Result")

SHORT_BYTES: Final = 16 * 1024
"""Parsing, masking or writing a text of this size takes a millisecond or two."""

_JOINED_BYTES: Final = 4 << 20
"""Copying this much takes a millisecond."""

# The event loop waits up to 5 ms for each computing thread, so there are few.
_FOR_TEXTS: Final = ThreadPoolExecutor(2, thread_name_prefix="rillflow-texts")


async def computed(size_bytes: int, work: Callable[[], Result]) -> Result:
    """Return what ``work`` returns, computed here if the text is short, else in a thread.

    Args:
        size_bytes: Length of the text that decides how long it takes.
        work: Touches nothing that the event loop changes meanwhile.
    """
    if size_bytes <= SHORT_BYTES:
        return work()
    return await in_thread(work)


async def in_thread(work: Callable[[], Result]) -> Result:
    """Return what ``work`` returns; it takes a tenth of a second or so."""
    return await asyncio.get_running_loop().run_in_executor(_FOR_TEXTS, work)


async def joined(*parts: bytes | memoryview) -> bytes:
    """Join parts of a text; large ones in a thread, where the copy needs no interpreter lock."""
    if sum(map(len, parts)) <= _JOINED_BYTES:
        return b"".join(parts)
    return await in_thread(lambda: b"".join(parts))
