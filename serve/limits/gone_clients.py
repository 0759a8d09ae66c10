"""Work for an answer that nobody will read, because its client has left, ends.

Used by `serve/routes`.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from rillflow.errors import RillflowError

Result = TypeVar("Result")


async def unless_left(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """Return what a work returns, which ends when the client of a request leaves before.

    The body of the request must not be read meanwhile.

    Raises:
        ClientDisconnect: The client has left.
    """
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_until_left(request))
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if not working.done() and watching.result():
            raise ClientDisconnect
        return await working
    finally:
        working.cancel()
        watching.cancel()


async def _until_left(request: Request) -> bool:
    """Wait until a client has left; False if that will not be known."""
    try:
        while (await request.receive())["type"] != "http.disconnect":
            pass
    except RillflowError:  # of a body that nobody reads
        return False
    return True
