"""How many triggers there may be, and what they may take: of all workspaces, and of one.

The same limits hold for triggers that are added by themselves and for those that definitions
declare. A workspace has a half, so that it cannot take the room of the others.

Used by `runtime/definitions/catalogue.py` and `runtime/triggers/registry.py`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, NamedTuple, TypeAlias

from rillflow.errors import RequestError
from rillflow.ports.triggers import TriggerRow, Triggers, TriggerUse
from rillflow.runtime.definitions.trigger_groups import RESTRICTED, refuse_groups_of_others

MOST_TRIGGERS: Final = 20_000
MOST_BYTES: Final = 64 << 20
"""What all triggers may take together."""
MOST_TRIGGERS_OF_ONE: Final = MOST_TRIGGERS // 2
MOST_BYTES_OF_ONE: Final = MOST_BYTES // 2
"""What the triggers of one workspace may take together."""


Admit: TypeAlias = Callable[[str, int], Awaitable[None]]
"""Asked before so many bytes of a workspace are stored; raises if there is no room for them."""


async def everything_has_room(business: str, size_bytes: int) -> None:
    """Have room for whatever is stored."""


class _KnownUse(NamedTuple):
    """What the triggers took at a revision; too much where triggers were replaced."""

    revision: int
    workspace: str
    use: TriggerUse

    def with_added(self, triggers: int, size: int) -> "_KnownUse":
        use = self.use
        after = TriggerUse(
            triggers=use.triggers + triggers,
            bytes=use.bytes + size,
            triggers_of_one=use.triggers_of_one + triggers,
            bytes_of_one=use.bytes_of_one + size,
        )
        return _KnownUse(self.revision + triggers, self.workspace, after)


class TriggerRoom:
    """Room for triggers in a store; what one process adds is counted exactly.

    The store counts all triggers, which takes the longer the more there are. So it is not asked
    again as long as only this process adds triggers of one workspace, which the revision tells.
    """

    def __init__(self, store: Triggers, admit: Admit = everything_has_room) -> None:
        """Count in this store; ``admit`` is asked before a workspace stores bytes."""
        self._store = store
        self.admit = admit
        self._turn = asyncio.Lock()
        self._counted: _KnownUse | None = None

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
            OverloadedError: The store has no room for them (503), or its workspace has none (429).
        """
        if not added:
            yield
            return
        size = sum(row.bytes_with(context) for row, context in added)
        await self.admit(workspace, size)
        async with self._turn:
            revision = await self._store.newest_trigger_revision()
            after = self._after(revision, workspace, len(added), size, instead_of)
            if after is None or not _has_room(after.use):
                use = await self._store.trigger_use(workspace, besides=instead_of)
                after = _KnownUse(revision, workspace, use).with_added(len(added), size)
                _check("", after.use.triggers, after.use.bytes, MOST_TRIGGERS, MOST_BYTES)
                _check(
                    f" of {workspace}",
                    after.use.triggers_of_one,
                    after.use.bytes_of_one,
                    MOST_TRIGGERS_OF_ONE,
                    MOST_BYTES_OF_ONE,
                )
            await refuse_groups_of_others(self._store, workspace, [row for row, _ in added])
            self._counted = None
            yield
            self._counted = None if instead_of else after

    def _after(
        self, revision: int, workspace: str, triggers: int, size: int, instead_of: str
    ) -> _KnownUse | None:
        """Return what was counted, with what is added; None if nothing is known of it."""
        known = self._counted
        if known is None or instead_of or known[:2] != (revision, workspace):
            return None
        return known.with_added(triggers, size)


def _has_room(use: TriggerUse) -> bool:
    return (
        use.triggers <= MOST_TRIGGERS
        and use.bytes <= MOST_BYTES
        and use.triggers_of_one <= MOST_TRIGGERS_OF_ONE
        and use.bytes_of_one <= MOST_BYTES_OF_ONE
    )


def _check(whose: str, triggers: int, size: int, most: int, most_bytes: int) -> None:
    if triggers > most or size > most_bytes:
        raise RequestError(
            f"there would be {triggers} triggers{whose} with {size} bytes, and up to {most} with"
            f" {most_bytes} are possible",
            wire_code=RESTRICTED,
            hint="remove triggers that are not needed, or make their contexts smaller",
        )
