"""Decoding of large texts in calls beside the event loop, before the calls are handled."""

from collections.abc import Awaitable, Callable, Sequence

from rillflow.gateways.messages.threads import SHORT_BYTES, in_thread
from rillflow.jsontypes import ahead_of, decoded_ahead
from rillflow.ports.executions import Call, Reply, text_of


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
