"""Large executions that were read for several events stay in memory until all of these are handled.

Handling the events of a large execution takes many turns of the loop. If it left memory in between,
because another large one is read, it would be read again for each of them.

Used by `runtime/activation/large_reads.py`.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rillflow.ids import ExecutionId
from rillflow.runtime.activation.active_execution import ActiveExecution


class KeptExecutions:
    """The executions with events that wait until they are read, or that are being handled then."""

    def __init__(self, release: Callable[[ActiveExecution], None]) -> None:
        """Begin with none; ``release`` ends the lease of one that was kept."""
        self._release = release
        self._keepers: Counter[ExecutionId] = Counter()
        self._leased: dict[ExecutionId, ActiveExecution] = {}
        self._over: dict[ExecutionId, asyncio.Future[None]] = {}

    @contextmanager
    def begin(self, execution_id: ExecutionId) -> Iterator[None]:
        """Keep an execution, as soon as it is in memory, until this and all others have ended."""
        self._keepers[execution_id] += 1
        try:
            yield
        finally:
            self._keepers[execution_id] -= 1
            if not self._keepers[execution_id]:
                del self._keepers[execution_id]
                self._end(execution_id)

    def _end(self, execution_id: ExecutionId) -> None:
        leased = self._leased.pop(execution_id, None)
        if leased is not None:
            self._over.pop(execution_id).set_result(None)
            self._release(leased)

    def read(self, execution: ActiveExecution) -> None:
        """Lease an execution that was read, if it is to be kept; an earlier one is out of date."""
        execution_id = execution.state.execution_id
        if execution_id not in self._keepers:
            return
        earlier = self._leased.get(execution_id)
        if earlier is not None:
            earlier.end_lease()
        else:
            self._over[execution_id] = asyncio.get_running_loop().create_future()
        execution.begin_lease()
        self._leased[execution_id] = execution

    async def others_over(self, execution_id: ExecutionId, longest_s: float) -> None:
        """Wait until no other execution is kept, but no longer than this."""
        others = [over for each, over in self._over.items() if each != execution_id]
        if others:
            await asyncio.wait(others, timeout=longest_s)
