"""How long an exchange of an HTTP client takes at most, whatever its server sends meanwhile.

The time-outs of httpx are for each read, so a server that sends a byte of a head, a chunk's size or
a trailer now and then, or interim answers (1xx) one after the other, is waited for without an end.
Here each read and write of a connection has what is left of the time of its whole exchange.

Used by `client/ended_executions.py`, `client/http_transport/transport.py`, `exchange_limits`,
`functions` and `serve/stack/standalone.py`.
"""

import time
from contextvars import ContextVar
from typing import Final, Self

import httpcore

LEAST_BYTES_PER_S: Final = 32 * 1024
"""What is sent, and the body of an answer, may take longer than the time limit by its size over
this; nobody sends slower."""
MOST_HEAD_BYTES: Final = 256 * 1024
"""Read until an answer begins: its head, a few interim answers, and some of its body."""


class ExchangeLimit:
    """The limit of the exchange that is made in a ``with`` block by a client with limits.

    Its time begins with its first step on a connection.
    """

    __slots__ = ("_end_s", "_has_answer", "_head_bytes", "_longest_s", "_token")

    def __init__(self, longest_s: float, sent_bytes: int = 0) -> None:
        """Begin an exchange.

        Args:
            longest_s: The time until the answer has come whole, if it is small.
            sent_bytes: The size of the request.
        """
        self._longest_s = longest_s + sent_bytes / LEAST_BYTES_PER_S
        self._end_s: float | None = None
        self._head_bytes = 0
        self._has_answer = False

    def __enter__(self) -> Self:
        self._token = LIMIT.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        LIMIT.reset(self._token)

    def left_s(self, timeout_s: float | None) -> float:
        """Return how long a step may take that has a time-out of its own.

        Raises:
            httpcore.ReadTimeout: The time is over.
        """
        now_s = time.monotonic()
        if self._end_s is None:
            self._end_s = now_s + self._longest_s
        left_s = self._end_s - now_s
        if left_s <= 0:
            raise self.too_late()
        return left_s if timeout_s is None else min(left_s, timeout_s)

    def too_late(self) -> httpcore.ReadTimeout:
        """Return the error of an exchange whose time is over."""
        if not self._head_bytes:
            return httpcore.ReadTimeout("timed out")
        return httpcore.ReadTimeout(f"the answer has not come whole within {self._longest_s:.3g} s")

    def noted(self, found: bytes) -> bytes:
        """Count what was read, until the answer begins, and return it.

        Raises:
            httpcore.RemoteProtocolError: It is too much.
        """
        self._head_bytes += len(found)
        if self._head_bytes > MOST_HEAD_BYTES and not self._has_answer:
            raise httpcore.RemoteProtocolError(
                f"more than {MOST_HEAD_BYTES:,} bytes came before an answer"
            )
        return found

    def note_answer(self) -> None:
        """The answer has begun: the body is counted by who reads it."""
        self._has_answer = True

    def begin_again(self) -> None:
        """Let the time begin anew, for the next part of an answer that has no end."""
        self._end_s = None

    def note_bytes(self, count: int) -> None:
        """Give the exchange more time for what was sent of its request, or has come of its body."""
        self._longest_s += count / LEAST_BYTES_PER_S
        if self._end_s is not None:
            self._end_s += count / LEAST_BYTES_PER_S


LIMIT: Final = ContextVar[ExchangeLimit | None]("LIMIT", default=None)
"""That of the exchange which is made in this thread or task."""


def left_s(timeout_s: float | None) -> float | None:
    """Return how long a step of the exchange of this moment may take; see ``ExchangeLimit``."""
    limit = LIMIT.get()
    return timeout_s if limit is None else limit.left_s(timeout_s)
