"""Work that a text of a legal size may make long is done in a thread, beside the event loop."""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

Result = TypeVar("Result")

SHORT_BYTES: Final = 16 * 1024
"""Reading, masking or writing a text of this size takes a millisecond or two."""


async def computed(size_bytes: int, work: Callable[[], Result]) -> Result:
    """Return what ``work`` returns, computed here if the text is short, else in a thread.

    Args:
        size_bytes: Length of the text that decides how long it takes.
        work: Touches nothing that the event loop changes meanwhile.
    """
    if size_bytes <= SHORT_BYTES:
        return work()
    return await asyncio.to_thread(work)
