"""The dispatcher port: how owners have their outbound calls made.

Used by `runtime/commands`, `runtime/dispatch` and `runtime/owner`.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

from rillflow.ids import ExecutionId, TaskName
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest

TakeAnswers: TypeAlias = Callable[[list[DispatchAnswer]], Awaitable[None]]
"""Accepts answers; returns once they are durable, raises GoneError if the owner has left."""


class Dispatcher(Protocol):
    """Makes calls; answers come back later, in batches, in any order."""

    def send(self, requests: Sequence[DispatchRequest]) -> None:
        """Accept requests without waiting; one that is under way already is ignored.

        Every request is answered, unless the process that sent it dies.
        """
        ...


@runtime_checkable
class BoundedDispatcher(Dispatcher, Protocol):
    """A dispatcher that has large requests wait for others."""

    def waiting(self, execution_id: ExecutionId) -> list[TaskName]:
        """Return the tasks of an execution whose calls wait for room."""
        ...
