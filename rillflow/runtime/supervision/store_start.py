"""Opens the store of a controller that starts, and tries again until it can be opened.

Used by `actors/controller_actor.py`.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from rillflow.errors import StoreError
from rillflow.runtime.aio.retrying import retry_while_unavailable

NOT_OPENED: Final = "the controller cannot open the store, and tries again"


async def open_when_possible(
    open_store: Callable[[], Awaitable[None]], say: Callable[[str, str], None]
) -> None:
    """Open a store, again and again until that succeeds; the pauses grow as for other calls.

    Args:
        open_store: Opens the store, or raises a StoreError.
        say: Is told of each failure: a sentence for everybody, and the cause for operators.
    """

    async def try_once() -> None:
        try:
            await open_store()
        except StoreError as error:
            say(NOT_OPENED, str(error))
            raise

    await retry_while_unavailable(try_once)
