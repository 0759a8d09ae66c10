"""Responses to messages between actors: an answer, or an error that the sender raises.

Sockets, and the methods that actors offer over Ray, return a ``Response``. So no Rillflow error
becomes a Ray exception, and each has the same class on both sides.

Used by `actors`.
"""

import logging
from collections.abc import Awaitable
from typing import Final, NamedTuple

from rillflow.errors import DefectError, RillflowError
from rillflow.ports.executions import decode_refusal, encode_refusal

log = logging.getLogger("rillflow.responses")

ANSWER: Final = 1
REFUSAL: Final = 2


class Response(NamedTuple):
    """An ``ANSWER`` with its bytes, or a ``REFUSAL`` with an encoded error."""

    kind: int
    payload: bytes


async def response_of(answer: Awaitable[bytes], process: str) -> Response:
    """Wait for an answer; an unexpected exception is logged here, and reported by its type only."""
    try:
        return Response(ANSWER, await answer)
    except Exception as error:  # noqa: BLE001 - told to the sender
        return refusal_of(error, process)


def refusal_of(error: Exception, process: str) -> Response:
    """Tell of an error in the place of an answer; an unexpected one is logged here."""
    if isinstance(error, RillflowError):
        return Response(REFUSAL, encode_refusal(error))
    log.error("message_failed", exc_info=error, extra={"actor": process})
    return Response(REFUSAL, encode_refusal(DefectError.of(error, process)))


def answer_of(response: Response) -> bytes:
    """Return an answer.

    Raises:
        RillflowError: The other actor refused, or met a defect.
    """
    if response.kind == ANSWER:
        return response.payload
    raise decode_refusal(response.payload)
