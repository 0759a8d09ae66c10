"""The seam between executions and whatever makes their outbound calls."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeAlias

from rillflow.ports.gateway import DispatchAnswer, DispatchRequest

TakeAnswers: TypeAlias = Callable[[list[DispatchAnswer]], Awaitable[None]]
"""Takes answers to requests; returns once they are durable, raises GoneError if nobody is left."""


class Dispatcher(Protocol):
    """Makes calls; answers come back later, in batches, in any order."""

    def send(self, requests: Sequence[DispatchRequest]) -> None:
        """Take requests without waiting; one that is under way already is dropped.

        Every request is answered, unless the process that sent it dies.
        """
        ...
