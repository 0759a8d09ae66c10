"""How a batch of calls is taken: large texts are decoded first, then group by group.

Used by `runtime/owner/execution_owner.py`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

from rillflow.gateways.messages.threads import SHORT_BYTES, in_thread
from rillflow.jsontypes import ahead_of, decoded_ahead
from rillflow.ports.executions import Call, Reply, Submission, text_of

_IN_MEMORY: Final = "in memory"
_UNREAD: Final = "unread"
Take: TypeAlias = Callable[[Sequence[Call]], Awaitable[list[Reply]]]


def in_groups(
    calls: Sequence[Call], must_read: Callable[[Call], bool], take: Take
) -> Awaitable[list[Reply]]:
    """Handle a batch in groups; the replies are in its order.

    The store refuses a submission whose idempotency key is taken, so it is written apart from the
    other calls. Executions that must be read first may have long journals, so their calls form one
    group of their own; a write for each would take five times as long.
    """
    groups = _groups_of(calls, must_read) if len(calls) > 1 else []
    return take(calls) if len(groups) < 2 else _in_several(calls, groups, take)


async def _in_several(
    calls: Sequence[Call], groups: Sequence[Sequence[int]], take: Take
) -> list[Reply]:
    answered = await asyncio.gather(
        *(take([calls[number] for number in group]) for group in groups)
    )
    by_number = {
        number: reply
        for group, replies in zip(groups, answered, strict=True)
        for number, reply in zip(group, replies, strict=True)
    }
    return [by_number[number] for number in range(len(calls))]


def _groups_of(calls: Sequence[Call], must_read: Callable[[Call], bool]) -> list[list[int]]:
    """Return the places of calls by group; those of one execution keep their order."""
    unread = {call.execution_id for call in calls if must_read(call)}
    keyed = (isinstance(call, Submission) and call.idempotency_key is not None for call in calls)
    if not unread and not any(keyed):
        return []
    groups: dict[int | str, list[int]] = {}
    for number, call in enumerate(calls):
        if isinstance(call, Submission) and call.idempotency_key is not None:
            key: int | str = number
        else:
            key = _UNREAD if call.execution_id in unread else _IN_MEMORY
        groups.setdefault(key, []).append(number)
    return list(groups.values())


def large_texts(calls: Sequence[Call]) -> list[bytes]:
    """Return the texts of calls that are to be decoded beside the event loop."""
    return [text for call in calls if len(text := text_of(call)) > SHORT_BYTES]


async def decoded_first(
    large: Sequence[bytes], take: Callable[[], Awaitable[list[Reply]]]
) -> list[Reply]:
    """Decode the large texts of some calls, then handle the calls; the core finds them decoded."""
    ahead = await in_thread(lambda: list(filter(None, map(ahead_of, large))))
    with decoded_ahead(ahead):
        return await take()
