"""Decoding of large texts in calls beside the event loop, before the calls are handled."""

from collections.abc import Awaitable, Callable, Sequence

from rillflow.gateways.messages.threads import SHORT_BYTES, in_thread
from rillflow.jsontypes import ahead_of, decoded_ahead
from rillflow.ports.executions import Call, Reply, text_of


async def decoded_first(
    calls: Sequence[Call], take: Callable[[], Awaitable[list[Reply]]]
) -> list[Reply]:
    """Decode the large texts of some calls, then handle the calls; the core finds them decoded."""
    large = [text for call in calls if len(text := text_of(call)) > SHORT_BYTES]
    if not large:
        return await take()
    ahead = await in_thread(lambda: list(filter(None, map(ahead_of, large))))
    with decoded_ahead(ahead):
        return await take()
