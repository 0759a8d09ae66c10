"""Which executions an owner takes calls for, by the partition map that it was started with.

Used by `actors/execution_actor.py` and `runtime/endpoints.py`.
"""

from collections.abc import Sequence
from typing import Protocol

from rillflow.errors import NotOwnerError
from rillflow.ids import PARTITIONS, ExecutionId, partition_of
from rillflow.ports.executions import ResourceCall, TrafficCall


class Addressed(Protocol):
    """Whatever is for one execution."""

    @property
    def execution_id(self) -> ExecutionId:
        """The execution."""
        ...


class OwnPartitions:
    """The partitions of one owner; those of an owner that is alone are all."""

    def __init__(
        self, partitions: Sequence[int] | None = None, *, version: int = 0, owners: int = 1
    ) -> None:
        """Own ``partitions`` in a map of that version with so many owners; None owns all."""
        self.partition_map = version, owners
        self._partitions = frozenset(range(PARTITIONS) if partitions is None else partitions)
        self.are_all = len(self._partitions) == PARTITIONS

    def has(self, message: Addressed) -> bool:
        """Tell whether an owner of these partitions takes this message.

        What is for no execution in particular is for every owner.
        """
        if self.are_all or isinstance(message, ResourceCall | TrafficCall):
            return True
        return partition_of(message.execution_id) in self._partitions

    def refusal(self) -> NotOwnerError:
        """Return what a caller is told who has another map."""
        version, owners = self.partition_map
        return NotOwnerError(
            f"the execution has another owner: there are {owners} by partition map {version}",
            self.partition_map,
        )
