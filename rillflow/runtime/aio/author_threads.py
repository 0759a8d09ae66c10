"""The threads of this process that work for authors: one for short works, one for others.

They read and check definitions, and try rules. While a thread computes, the event loop waits for
the interpreter lock up to 5 ms each time, so there are no more of them, and after what is long they
rest.

Used by `runtime/definitions` and `serve/routes`.
"""

from collections.abc import Callable
from typing import Final, TypeVar

from rillflow.gateways.outbound.fair_thread import FairThread

Result = TypeVar("Result")

SHORT_TEXT_BYTES: Final = 32_768
"""Reading and checking a text of this length takes a tenth of a second at most."""


REST: Final = 1.0
"""How many times as long as a long work took the event loop has the interpreter after it."""


class AuthorThreads:
    """Two threads, each shared fairly among senders.

    Who checks an ordinary definition waits for no large one, whoever sent how many of those.
    """

    def __init__(self) -> None:
        self._short = FairThread(most=64, most_of_one=32, name="short author-requests")
        self._long = FairThread(most=32, most_of_one=16, name="long author-requests", rest=REST)

    async def run(
        self, work: Callable[[], Result], *, sender: str, text_bytes: int | None
    ) -> Result:
        """Return what ``work`` returns; it must not touch anything that others change meanwhile.

        Args:
            work: What is done.
            sender: Who has asked for it; works of different senders take turns.
            text_bytes: The length of the text that it reads once; None if something else decides
                how long it takes.

        Raises:
            OverloadedError: There is no place, for this sender or for any (429).
        """
        is_short = text_bytes is not None and text_bytes <= SHORT_TEXT_BYTES
        return await (self._short if is_short else self._long).run(sender, work)


FOR_AUTHORS: Final = AuthorThreads()
"""Those of this process."""

FOR_DRY_RUNS: Final = FairThread(most=8, most_of_one=4, name="dry runs", rest=REST)
"""The thread of this process that tries definitions without calling anybody."""
