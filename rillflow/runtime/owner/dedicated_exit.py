"""When the actor of a dedicated execution may leave.

Used by `actors/execution_actor.py`.
"""

import asyncio
from collections.abc import Sized
from typing import Final

from rillflow.backoff import Backoff
from rillflow.ids import ExecutionId, listing_partition
from rillflow.ports.storage.store import Journal
from rillflow.runtime.aio.retrying import retry_while_unavailable
from rillflow.runtime.owner.execution_owner import ExecutionOwner

LINGER_S: Final = 2.0
MOST_LOOKS: Final = 15
"""How often an actor looks for its execution in vain before it asks whether there is one."""
LONGEST_PAUSE_S: Final = 300.0


async def until_done(
    host: ExecutionOwner, calls: Sized, journal: Journal, execution_id: ExecutionId
) -> None:
    """Wait until an execution has settled, or has never begun.

    The calls that it has ordered must be answered as well: ``calls`` are those under way. The
    caller must accept no more calls from the moment this returns. The actor of an execution that
    cannot be read stays, since it would be started again (``runtime.supervision.restarts``).
    """
    looked_in_vain, pause_s, is_over = 0, LINGER_S, False
    backoff = Backoff(2 * LINGER_S, LONGEST_PAUSE_S)
    while True:
        if not is_over:
            await host.settled(execution_id)
        await asyncio.sleep(pause_s)
        if is_over:
            # It waits for its calls, and may leave memory meanwhile: it is not read for that.
            is_over = len(calls) > 0
            continue
        if host.knows(execution_id):
            # A redo may have restarted it meanwhile.
            is_over = host.has_settled(execution_id)
            if is_over and not len(calls):
                return
            looked_in_vain, pause_s = 0, LINGER_S
            backoff.reset()
            continue
        looked_in_vain += 1
        if looked_in_vain >= MOST_LOOKS:
            # A refused submission never began.
            if not await _is_listed(journal, execution_id) and not host.knows(execution_id):
                return
            pause_s = backoff.next_s()


async def _is_listed(journal: Journal, execution_id: ExecutionId) -> bool:
    return execution_id in await retry_while_unavailable(
        lambda: journal.unfinished([listing_partition(execution_id)])
    )
