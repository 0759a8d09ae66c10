"""Which calls of a batch are written together."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from rillflow.ports.executions import Call, Reply, Submission

Take: TypeAlias = Callable[[Sequence[Call]], Awaitable[list[Reply]]]


async def in_groups(calls: Sequence[Call], take: Take) -> list[Reply]:
    """Have a batch taken; the replies come in its order.

    A submission with an idempotency key is refused by the store when the key is
    taken, so it is written apart from the rest, which it must not take down.
    """
    apart = [n for n, call in enumerate(calls) if _has_key(call)] if len(calls) > 1 else []
    if not apart:
        return await take(calls)
    rest = [number for number in range(len(calls)) if number not in set(apart)]
    groups = [*([number] for number in apart), rest]
    answered = await asyncio.gather(
        *(take([calls[number] for number in group]) for group in groups)
    )
    by_number = {
        number: reply
        for group, replies in zip(groups, answered, strict=True)
        for number, reply in zip(group, replies, strict=True)
    }
    return [by_number[number] for number in range(len(calls))]


def _has_key(call: Call) -> bool:
    return isinstance(call, Submission) and call.idempotency_key is not None
