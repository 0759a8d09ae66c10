"""Delivers the progress of calls to the owners that have ordered them.

A report that is lost is followed by the next one, so none is repeated.

Used by `actors/dispatcher_actor.py`.
"""

import logging
from collections.abc import Awaitable, Callable

from rillflow.core.events import ProgressReported
from rillflow.errors import RillflowError
from rillflow.gateways.limits.answer_budget import CallId
from rillflow.ports.clock import Clock
from rillflow.ports.executions import Delivery
from rillflow.ports.messages import Calls, encode_message
from rillflow.task_set import TaskSet

log = logging.getLogger("rillflow.dispatch")


class ProgressDelivery:
    """Sends reports, each once."""

    def __init__(
        self,
        connection_of: Callable[[CallId], Callable[[bytes], Awaitable[bytes]] | None],
        clock: Clock,
        masked: Callable[[str], str],
    ) -> None:
        """Send to the owner of a call; ``masked`` takes secrets out of messages."""
        self._connection_of = connection_of
        self._clock = clock
        self._masked = masked
        self._sending: TaskSet[None] = TaskSet()

    def begin(self, call: CallId, fraction: float | None, message: str, log: str | None) -> None:
        """Begin to send a report."""
        connection = self._connection_of(call)
        if connection is None:
            return
        execution_id, task, attempt, _ = call
        event = ProgressReported(
            at_ms=self._clock.now_ms(),
            task=task,
            fraction=fraction,
            message=self._masked(message) if message else "",
            attempt=attempt,
            log=log,
        )
        told = encode_message(Calls([Delivery(execution_id=execution_id, event=event)]))
        self._sending.start(_send(connection, told))


async def _send(connection: Callable[[bytes], Awaitable[bytes]], told: bytes) -> None:
    try:
        await connection(told)
    except RillflowError as error:
        log.info("progress_not_delivered", extra={"reason": str(error)})
