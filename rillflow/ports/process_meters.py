"""The metrics of the other processes of a stack, for the replica that shows them all.

Used by `runtime/stack.py`.
"""

from collections.abc import Sequence
from typing import Protocol

from rillflow.telemetry.minutes import Minute
from rillflow.telemetry.states import ProcessState


class ProcessMeters(Protocol):
    """The processes of a stack besides this one."""

    async def states(self, own: ProcessState) -> list[ProcessState]:
        """Return the metrics of each; one that does not answer in time is told as not reached.

        ``own`` are those of this process, which the others show until it tells newer ones.
        """
        ...

    async def tell(self, own: ProcessState) -> None:
        """Tell the metrics of this process, for other replicas.

        Raises:
            RillflowError: Nobody could be told.
        """
        ...

    async def share(self, minutes: Sequence[Minute]) -> list[Minute]:
        """Tell the minutes that this process keeps; return those that any replica has told.

        Raises:
            RillflowError: Nobody could be told.
        """
        ...


class NoProcessMeters:
    """A stack that is all in this process."""

    async def states(self, own: ProcessState) -> list[ProcessState]:
        """Return nothing."""
        del own
        return []

    async def tell(self, own: ProcessState) -> None:
        """Tell nobody."""

    async def share(self, minutes: Sequence[Minute]) -> list[Minute]:
        """Return nothing: there are no others."""
        del minutes
        return []
