"""How many triggers there may be, and what they may take: of all workspaces, and of one.

The same limits hold for triggers that are added by themselves and for those that definitions
declare. A workspace has a half, so that it cannot take the room of the others.

Used by `runtime/definitions/catalogue.py` and `runtime/triggers/registry.py`.
"""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, NamedTuple, TypeAlias

from rillflow.errors import RequestError
from rillflow.ports.triggers import TriggerRow, Triggers, TriggerUse
from rillflow.runtime.aio.sender_turns import SenderTurns
from rillflow.runtime.definitions.trigger_groups import (
    RESTRICTED,
    groups_named,
    refuse_groups_of_others,
)

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
    """What triggers took at a revision, at least; too much where some were replaced.

    Attributes:
        revision: That of the store.
        triggers: How many there were.
        bytes: What they took together.
        of: The number and the bytes of workspaces, as far as those were counted.
    """

    revision: int
    triggers: int
    bytes: int
    of: Mapping[str, tuple[int, int]]

    def use_of(self, workspace: str) -> TriggerUse | None:
        """Return what all triggers took, and those of a workspace; None if that is not known."""
        if workspace not in self.of:
            return None
        of_one, bytes_of_one = self.of[workspace]
        return TriggerUse(
            triggers=self.triggers,
            bytes=self.bytes,
            triggers_of_one=of_one,
            bytes_of_one=bytes_of_one,
        )


class TriggerRoom:
    """Room for triggers in a store; what one process adds is counted exactly.

    The store counts all triggers, which takes the longer the more there are. So it is not asked
    again as long as only this process adds triggers, which the revision tells.

    Workspaces take turns: whoever adds a trigger waits for one of each other workspace at most.
    """

    def __init__(self, store: Triggers, admit: Admit = everything_has_room) -> None:
        """Count in this store; ``admit`` is asked before a workspace stores bytes."""
        self._store = store
        self.admit = admit
        self._turns = SenderTurns(most=sys.maxsize, refusal="never refused")
        # Looking for a group among all triggers takes long, so nobody else waits for it.
        self._naming_groups = SenderTurns(most=sys.maxsize, refusal="never refused")
        self._counted = _KnownUse(-1, 0, 0, {})

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
        rows = [row for row, _ in added]
        async with AsyncExitStack() as turns:
            if groups := groups_named(rows):
                await turns.enter_async_context(self._naming_groups.turn(workspace))
                await refuse_groups_of_others(self._store, workspace, groups)
            await turns.enter_async_context(self._turns.turn(workspace))
            after = await self._counted_with(workspace, len(added), size, instead_of)
            yield
            if not instead_of:
                self._counted = after

    async def _counted_with(
        self, workspace: str, triggers: int, size: int, instead_of: str
    ) -> _KnownUse:
        """Return what is stored with so much more of a workspace, if there is room for it."""
        revision = await self._store.newest_trigger_revision()
        known = self._counted if self._counted.revision == revision else None
        use = None if known is None or instead_of else known.use_of(workspace)
        after = None if use is None else _more(use, triggers, size)
        if after is None or not _has_room(after):
            use = await self._store.trigger_use(workspace, besides=instead_of)
            after = _more(use, triggers, size)
            _check("", after.triggers, after.bytes, MOST_TRIGGERS, MOST_BYTES)
            _check(
                f" of {workspace}",
                after.triggers_of_one,
                after.bytes_of_one,
                MOST_TRIGGERS_OF_ONE,
                MOST_BYTES_OF_ONE,
            )
        of = {} if known is None else known.of
        own = after.triggers_of_one, after.bytes_of_one
        return _KnownUse(revision + triggers, after.triggers, after.bytes, {**of, workspace: own})


def _more(use: TriggerUse, triggers: int, size: int) -> TriggerUse:
    return TriggerUse(
        triggers=use.triggers + triggers,
        bytes=use.bytes + size,
        triggers_of_one=use.triggers_of_one + triggers,
        bytes_of_one=use.bytes_of_one + size,
    )


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
