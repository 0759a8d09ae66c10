"""Retries while the server does not answer, for clients that wait for an execution.

An acknowledged execution continues after a restart of its server, so a waiting client continues to
wait. Only harmless requests are repeated: reads, and submissions with an idempotency key. A refusal
(4xx) is never retried.

Used by `cli/output/progress.py`, `client/clients.py` and `client/executions.py`.
"""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, TypeAlias, TypeGuard, TypeVar

from rillflow.backoff import Backoff
from rillflow.client.exchanges import GRACE_S, Exchange
from rillflow.client.operations import Read, Request, Rest
from rillflow.errors import (
    DamagedError,
    ExecutionTimeoutError,
    RillflowError,
    ServerError,
    StoreError,
    UnavailableError,
    UnreachableError,
)

T = TypeVar("T")
OnSilence: TypeAlias = Callable[[RillflowError, float], object]
"""Is told once for each silence: the first failure, and for how many seconds it is borne."""

PATIENCE_S: Final = 60.0
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 2.0
SILENT_STATUSES: Final = (502, 503, 504)


class Patience:
    """How long one wait bears a server that does not answer.

    A silence begins with the first failure and ends with an answer; each is borne for
    ``patience_s`` seconds, and none for longer than the whole wait of ``timeout_s``. Until
    the server has answered once, ``acknowledged`` False means that a failure is final: most
    likely the address is wrong. A silence that outlasts the whole wait is its time-out.

    Args:
        patience_s: Seconds; 0 asks nothing again.
        on_silence: Is told of each silence.
        acknowledged: Whether the server is known to have answered before.
        timeout_s: How long the whole wait may take, from now on; None for as long as it takes.
        now_s: Tells the time, in seconds that never go back.
    """

    def __init__(
        self,
        patience_s: float = PATIENCE_S,
        on_silence: OnSilence | None = None,
        *,
        acknowledged: bool,
        timeout_s: float | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._patience_s = patience_s
        self._on_silence = on_silence
        self._acknowledged = acknowledged
        self._now_s = now_s
        self._timeout_s = math.inf if timeout_s is None else timeout_s
        self._end_s = now_s() + self._timeout_s

    def hold(self, exchange: Exchange[T]) -> Exchange[T]:
        """Hold a conversation whose reads are asked again; all else is asked once."""
        try:
            operation = next(exchange)
            while True:
                try:
                    if isinstance(operation, Read):
                        answer = yield from self.ask(operation)
                    else:
                        answer = yield operation
                except RillflowError as error:
                    operation = exchange.throw(error)
                else:
                    operation = exchange.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    def ask(self, request: Request) -> Exchange[Any]:
        """Perform an operation that is harmless to repeat, until it is answered.

        Raises:
            RillflowError: The stack refused, or was silent for too long.
            ExecutionTimeoutError: It was still silent when the wait for an end was over.
        """
        began_s, give_up_s = 0.0, None
        backoff = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        while True:
            try:
                answer = yield self._shortened(request)
            except RillflowError as error:
                if not (self._acknowledged and is_silence(error)):
                    raise
                if give_up_s is None:
                    began_s, give_up_s = self._now_s(), self._begin(error)
                left_s = give_up_s - self._now_s()
                if left_s <= 0:
                    if _waits_for_end(request) and self._now_s() >= self._end_s:
                        raise self._timed_out(request, error) from error
                    _tell_how_long(error, give_up_s - began_s)
                    raise
            else:
                self._acknowledged = True
                return answer
            yield Rest(seconds=min(backoff.next_s(), left_s))

    def _begin(self, error: RillflowError) -> float:
        """Take note of a silence, and return when it is over at the latest."""
        now_s = self._now_s()
        give_up_s = min(now_s + self._patience_s, self._end_s)
        if give_up_s > now_s and self._on_silence is not None:
            self._on_silence(error, give_up_s - now_s)
        return give_up_s

    def _timed_out(self, request: Read, silence: RillflowError) -> ExecutionTimeoutError:
        error = ExecutionTimeoutError(request.execution_id, self._timeout_s)
        error.with_hint(f"as far as is known, for the server did not answer at last: {silence}")
        return error

    def _shortened(self, request: Request) -> Request:
        """Have a read that waits for an end take no longer than what is left of the wait."""
        if not _waits_for_end(request):
            return request
        left_s = max(self._end_s - self._now_s(), 0)
        wait_s, within_s = min(request.wait_s, left_s), left_s + GRACE_S
        return replace(request, wait_s=wait_s, within_s=within_s)


def _waits_for_end(request: Request) -> TypeGuard[Read]:
    return isinstance(request, Read) and request.within_s is not None


def is_silence(error: RillflowError) -> bool:
    """Tell whether an error means that the server is away, and may come back."""
    if isinstance(error, DamagedError):
        return False
    if isinstance(error, UnreachableError | UnavailableError | StoreError):
        return True
    return isinstance(error, ServerError) and error.http_status in SILENT_STATUSES


def _tell_how_long(error: RillflowError, borne_s: float) -> None:
    if borne_s > 0 and not error.hint:
        told = f"retried for {borne_s:.3g} s; an accepted execution goes on without the client"
        error.with_hint(told)
