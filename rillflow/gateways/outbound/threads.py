"""Threads for work on large texts, so that the event loop is not blocked.

What is short is computed at once. The work must not touch what the event loop changes meanwhile.

A codec, and each method of ``bytes``, holds the interpreter until it is done, in a thread too: for
texts of megabytes that is tens of milliseconds each time. Whoever has many of them would leave the
event loop nothing but the moments in between. So these have one thread, workspaces in turn, which
rests after each. Texts of some ten kilobytes have another one, workspaces in turn too.

Used by `gateways`, `runtime/activation`, `runtime/aio`, `runtime/submission/intake.py` and
`serve/routes`.
"""

import sys
from collections.abc import Callable
from typing import Final, TypeVar

from rillflow.gateways.outbound.fair_thread import FairThread
from rillflow.ids import workspace_of

Result = TypeVar("Result")

SHORT_BYTES: Final = 16 * 1024
"""Parsing, masking or writing a text of this size takes a millisecond or two."""

LARGE_BYTES: Final = 256 * 1024
"""Work on longer texts is done one at a time, workspaces in turn, with rests."""
REST: Final = 2.0
"""How many times as long as it took others have the interpreter after such work."""
_JOINED_BYTES: Final = 4 << 20
"""Copying this much takes a millisecond."""

# The event loop waits up to 5 ms for each computing thread, so there are few.
_FOR_TEXTS: Final = FairThread(most=sys.maxsize, most_of_one=sys.maxsize, name="texts", threads=4)
FOR_LISTS: Final = FairThread(
    most=sys.maxsize, most_of_one=sys.maxsize, name="lists", threads=2, rest=1.0
)
"""Threads that make the text of lists, or what it consists of, for callers in turn."""
_FOR_MIDDLE_TEXTS: Final = FairThread(
    most=sys.maxsize, most_of_one=sys.maxsize, name="middle-texts"
)
_FOR_LARGE_TEXTS: Final = FairThread(
    most=sys.maxsize, most_of_one=sys.maxsize, name="large-texts", rest=REST
)


async def computed(size_bytes: int, work: Callable[[], Result], *, workspace: str) -> Result:
    """Return what ``work`` returns, computed here if the text is short, else in a thread.

    Args:
        size_bytes: Length of the text that decides how long it takes.
        work: Touches nothing that the event loop changes meanwhile.
        workspace: Whose text it is, or who has sent it; workspaces take turns.
    """
    if size_bytes <= SHORT_BYTES:
        return work()
    return await in_thread(work, workspace=workspace)


async def in_turn(
    an_id: str, size_bytes: int, work: Callable[[], Result], *, is_long: bool = False
) -> Result:
    """Return what ``work`` on a text returns; that of one workspace holds up no other one's.

    Args:
        an_id: Of an execution or a definition, whose text it is; its workspace counts.
        size_bytes: Length of the text. The work on a short one is done here.
        work: Touches nothing that the event loop changes meanwhile.
        is_long: Whether the work takes long though the text is short.
    """
    if is_long and size_bytes <= SHORT_BYTES:
        return await _FOR_MIDDLE_TEXTS.run(workspace_of(an_id), work)
    return await in_turn_of(workspace_of(an_id), size_bytes, work)


async def in_turn_of(sender: str, size_bytes: int, work: Callable[[], Result]) -> Result:
    """Return what ``work`` on a text of a sender returns, as ``in_turn`` does for a workspace."""
    if size_bytes <= SHORT_BYTES:
        return work()
    thread = _FOR_MIDDLE_TEXTS if size_bytes <= LARGE_BYTES else _FOR_LARGE_TEXTS
    return await thread.run(sender, work)


async def in_thread(work: Callable[[], Result], *, workspace: str) -> Result:
    """Return what ``work`` returns; it takes a tenth of a second or so, and workspaces take turns.

    ``workspace`` is whose work it is, or who has asked for it. It is empty for what is the same for
    all, and done once.
    """
    return await _FOR_TEXTS.run(workspace, work)


async def joined(*parts: bytes | memoryview, workspace: str) -> bytes:
    """Join parts of a text; large ones in a thread, where the copy needs no interpreter lock.

    ``workspace`` is whose text it is, or who has asked for it.
    """
    if sum(map(len, parts)) <= _JOINED_BYTES:
        return b"".join(parts)
    return await in_thread(lambda: b"".join(parts), workspace=workspace)
