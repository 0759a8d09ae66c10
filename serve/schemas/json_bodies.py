"""Bodies in JSON that are decoded before anything else is done with them.

Decoding a megabyte holds the interpreter for tens of milliseconds. So a long body is decoded beside
the event loop, in the turn of its sender.

Used by `serve/routes`.
"""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from starlette.requests import Request

from rillflow.gateways.outbound.threads import in_turn_of
from rillflow.jsontypes import JsonObject
from rillflow.runtime.submission.intake import json_object
from serve.limits.callers import sender_of
from serve.schemas.exchange import read_json_text, required_json_text

Decoded = TypeVar("Decoded")


async def read_object(request: Request, *, is_required: bool = False) -> JsonObject:
    """Read a body that must be a JSON object; no body, or null, is an empty one.

    Raises:
        RequestError: It is something else, or it is missing though it ``is_required`` (422).
        TooLargeError: It is larger than the limit of its route.
    """
    body = await (required_json_text if is_required else read_json_text)(request)
    return await decoded(request, body, json_object)


async def decoded(request: Request, body: bytes, decode: Callable[[bytes], Decoded]) -> Decoded:
    """Return what ``decode`` makes of a text that a request has brought, or asks for."""
    return await in_turn_of(sender_of(request.scope), len(body), partial(decode, body))
