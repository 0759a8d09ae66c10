"""Stored definitions as they are shown: large ones are written in a thread.

Used by `serve/routes/console/definitions.py` and `serve/routes/console/listings.py`.
"""

from collections.abc import Callable
from typing import TypeVar

from starlette.requests import Request

from rillflow.definition.model import WorkflowDefinition
from rillflow.gateways.outbound.threads import SHORT_BYTES
from rillflow.runtime.aio.author_threads import FOR_AUTHORS
from rillflow.runtime.definitions.catalogue import stored_text
from rillflow.runtime.stack import Stack
from serve.limits.callers import sender_of

Shown = TypeVar("Shown")


async def shown_definition(
    stack: Stack, version: str, request: Request, show: Callable[[WorkflowDefinition], Shown]
) -> Shown:
    """Return what ``show`` makes of a stored definition.

    Raises:
        UnknownDescriptorError: No such text is stored.
        DefinitionError: The stored text is no longer valid.
        OverloadedError: Too many large definitions are being read (429).
    """
    definition = await stack.definition(version)
    text_bytes = len(await stored_text(stack.store, version))
    if text_bytes <= SHORT_BYTES:
        return show(definition)
    return await FOR_AUTHORS.run(
        lambda: show(definition), sender=sender_of(request.scope), text_bytes=text_bytes
    )
