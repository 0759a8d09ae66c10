"""How many triggers there may be, and what they may take: of all workspaces, and of one.

The same limits hold for triggers that are added by themselves and for those that definitions
declare. A workspace has a half, so that it cannot take the room of the others.

Used by `runtime/definitions/catalogue.py` and `runtime/triggers/registry.py`.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from rillflow.errors import RequestError
from rillflow.ports.triggers import TriggerRow, Triggers
from rillflow.runtime.definitions.trigger_groups import RESTRICTED, refuse_groups_of_others

MOST_TRIGGERS: Final = 20_000
MOST_BYTES: Final = 64 << 20
"""What all triggers may take together."""
MOST_TRIGGERS_OF_ONE: Final = MOST_TRIGGERS // 2
MOST_BYTES_OF_ONE: Final = MOST_BYTES // 2
"""What the triggers of one workspace may take together."""


class TriggerRoom:
    """Room for triggers in a store; what one process adds is counted exactly."""

    def __init__(self, store: Triggers) -> None:
        self._store = store
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def taken(
        self, workspace: str, added: Sequence[tuple[TriggerRow, str]], *, instead_of: str = ""
    ) -> AsyncIterator[None]:
        """Have room for triggers with their contexts, while the caller stores them.

        Args:
            workspace: The business whose definitions they start.
            added: The triggers; without any there is nothing to wait for.
            instead_of: The alias whose declared triggers these replace; they do not count.

        Raises:
            RequestError: They would be too many, or take too much, or a consumer group of one
                belongs to others (30110).
        """
        if not added:
            yield
            return
        size = sum(row.bytes_with(context) for row, context in added)
        async with self._turn:
            use = await self._store.trigger_use(workspace, besides=instead_of)
            _check("", use.triggers + len(added), use.bytes + size, MOST_TRIGGERS, MOST_BYTES)
            _check(
                f" of {workspace}",
                use.triggers_of_one + len(added),
                use.bytes_of_one + size,
                MOST_TRIGGERS_OF_ONE,
                MOST_BYTES_OF_ONE,
            )
            await refuse_groups_of_others(self._store, workspace, [row for row, _ in added])
            yield


def _check(whose: str, triggers: int, size: int, most: int, most_bytes: int) -> None:
    if triggers > most or size > most_bytes:
        raise RequestError(
            f"there would be {triggers} triggers{whose} with {size} bytes, and up to {most} with"
            f" {most_bytes} are possible",
            wire_code=RESTRICTED,
            hint="remove triggers that are not needed, or make their contexts smaller",
        )
