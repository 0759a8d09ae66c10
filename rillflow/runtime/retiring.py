"""When the home of a dedicated execution may leave."""

import asyncio
from collections.abc import Sized
from typing import Final

from rillflow.ids import ExecutionId
from rillflow.runtime.host import ExecutionHost

LINGER_S: Final = 2.0
MOST_LOOKS: Final = 15
"""How often a home looks for an execution that does not exist before it leaves."""


async def until_done(host: ExecutionHost, calls: Sized, execution_id: ExecutionId) -> None:
    """Wait until an execution has settled, or has never begun.

    What it has ordered must be answered as well: ``calls`` are those under way. Whoever
    waits must take no more calls from the moment this returns.
    """
    looked_in_vain = 0
    while True:
        await host.settled(execution_id)
        await asyncio.sleep(LINGER_S)
        looked_in_vain = 0 if host.knows(execution_id) else looked_in_vain + 1
        # A redo may have begun it anew meanwhile; a refused submission never began.
        settled = host.has_settled(execution_id) and not len(calls)
        if settled or looked_in_vain >= MOST_LOOKS:
            return
