"""Which epoch a host writes under (docs/decisions/ownership/fencing.md)."""

import zlib
from collections.abc import Sequence
from typing import Final

from cachetools import FIFOCache

from rillflow.ids import PARTITIONS, ExecutionId, is_dedicated, partition_of
from rillflow.ports.store import Journal

DEDICATED_LISTING: Final = PARTITIONS
MOST_ADOPTED: Final = 1000
"""Scopes of ended executions that are remembered; any other is adopted again."""
_DEDICATED_SCOPE: Final = 2 * PARTITIONS


def listing_partition(execution_id: ExecutionId) -> int:
    """Return the partition an execution is listed under while it has not ended.

    Dedicated executions are listed apart from the shared ones of their partition.
    """
    home = partition_of(execution_id)
    return DEDICATED_LISTING + home if is_dedicated(execution_id) else home


class OwnerEpoch:
    """The epochs of one host.

    A shared host owns partitions. A dedicated one owns a fencing scope of its own,
    named by the execution; the home of the partition takes that scope over when it
    has to write to a dedicated execution that has ended.
    """

    def __init__(
        self, journal: Journal, partitions: Sequence[int], dedicated: ExecutionId | None
    ) -> None:
        self._journal = journal
        self._dedicated = dedicated
        self._scopes = list(partitions) if dedicated is None else [self.scope_of(dedicated)]
        self._epoch = 0
        self._adopted = FIFOCache[int, int](MOST_ADOPTED)

    async def take(self) -> None:
        """Become the owner; every earlier owner is refused from here on."""
        self._epoch = await self._journal.take_partitions(self._scopes)

    @property
    def epoch(self) -> int:
        """The epoch of this owner, greater than those before it."""
        return self._epoch

    async def is_lost(self) -> bool:
        """Ask the store whether a newer owner has taken over.

        Raises:
            StoreError: The store cannot be read.
        """
        return await self._journal.newest_epoch(self._scopes) > self._epoch

    async def adopt(self, execution_id: ExecutionId) -> None:
        """Take over the scope of a dedicated execution that has ended.

        What was read of it before may be out of date.

        Raises:
            StoreError: The store cannot be written.
        """
        scope = self.scope_of(execution_id)
        self._adopted[scope] = await self._journal.take_partitions([scope])

    def release(self, execution_id: ExecutionId) -> None:
        """Give an adopted scope back, to the actor that is about to take it."""
        self._adopted.pop(self.scope_of(execution_id), None)

    def is_near(self, execution_id: ExecutionId) -> bool:
        """Tell whether calls about an execution come to this host, be it that they go on."""
        if self._dedicated is not None:
            return execution_id == self._dedicated
        return partition_of(execution_id) in self._scopes

    def is_elsewhere(self, execution_id: ExecutionId) -> bool:
        """Tell whether an execution belongs to a Ray actor of its own, and not to this host."""
        return is_dedicated(execution_id) and execution_id != self._dedicated

    def scope_of(self, execution_id: ExecutionId) -> int:
        """Return the fencing scope of an execution."""
        if is_dedicated(execution_id):
            return _DEDICATED_SCOPE + zlib.crc32(execution_id.encode())
        return partition_of(execution_id)

    def fence_of(self, execution_id: ExecutionId) -> tuple[int, int]:
        """Return the fencing scope of an execution, and the epoch to write its records under."""
        if not is_dedicated(execution_id):
            return partition_of(execution_id), self._epoch
        scope = self.scope_of(execution_id)
        is_own = execution_id == self._dedicated
        return scope, self._epoch if is_own else self._adopted.get(scope, 0)
