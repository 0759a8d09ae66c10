"""The epoch under which an owner writes, which keeps two owners of an execution apart.

Every append carries the epoch; the store refuses it if another owner has taken a higher one
(docs/decisions/ownership/fencing.md). `runtime/owner` takes the epoch at its start and asks here
for each write.
"""

import asyncio
import zlib
from collections.abc import Sequence
from typing import Final

from cachetools import FIFOCache

from rillflow.ids import PARTITIONS, ExecutionId, is_dedicated, partition_of
from rillflow.ports.store import Journal

DEDICATED_LISTING: Final = PARTITIONS
MOST_ADOPTED: Final = 1000
"""How many scopes of ended executions are remembered; others are adopted again."""
_DEDICATED_SCOPE: Final = 2 * PARTITIONS


def listing_partition(execution_id: ExecutionId) -> int:
    """Return the partition under which an execution is listed until it has ended.

    Dedicated executions are listed apart from the shared ones of their partition.
    """
    home = partition_of(execution_id)
    return DEDICATED_LISTING + home if is_dedicated(execution_id) else home


class OwnerEpoch:
    """The epochs of one owner.

    A shared owner owns partitions. A dedicated owner has a fencing scope of its own, named by the
    execution. The owner of the partition takes that scope over when it has to write to a dedicated
    execution that has ended.
    """

    def __init__(
        self, journal: Journal, partitions: Sequence[int], dedicated: ExecutionId | None
    ) -> None:
        self._journal = journal
        self._dedicated = dedicated
        self._scopes = list(partitions) if dedicated is None else [self.scope_of(dedicated)]
        self._epoch = 0
        self._has_epoch = asyncio.Event()
        self._adopted = FIFOCache[int, int](MOST_ADOPTED)

    async def take(self) -> None:
        """Take a new epoch; from here on the store refuses every earlier owner."""
        self._epoch = await self._journal.take_scopes(self._scopes)
        self._has_epoch.set()

    async def has_epoch(self) -> None:
        """Wait until an epoch was taken."""
        await self._has_epoch.wait()

    @property
    def epoch(self) -> int:
        """The epoch of this owner, greater than those of earlier owners."""
        return self._epoch

    async def is_lost(self) -> bool:
        """Ask the store whether a newer owner has taken over.

        Raises:
            StoreError: The store cannot be read.
        """
        return await self._journal.newest_epoch(self._scopes) > self._epoch

    async def adopt(self, execution_id: ExecutionId) -> None:
        """Take over the scope of a dedicated execution that has ended.

        What was read of the execution before may be out of date.

        Raises:
            StoreError: The store cannot be written.
        """
        scope = self.scope_of(execution_id)
        self._adopted[scope] = await self._journal.take_scopes([scope])

    def release(self, execution_id: ExecutionId) -> None:
        """Give an adopted scope back to the actor that is about to take it."""
        self._adopted.pop(self.scope_of(execution_id), None)

    def is_near(self, execution_id: ExecutionId) -> bool:
        """Tell whether calls about an execution reach this owner if they are sent on."""
        if self._dedicated is not None:
            return execution_id == self._dedicated
        return partition_of(execution_id) in self._scopes

    def is_elsewhere(self, execution_id: ExecutionId) -> bool:
        """Tell whether an execution belongs to an actor of its own, and not to this owner."""
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
