"""Admission of what callers store besides submissions: orders, definitions, rules, names, triggers.

Each counts for the bytes of its workspace (``store_bytes``), and needs free space on the disk of
the store. Names and rules have limits by workspace without a quota too, since each is a row that
stays. Orders that end something are not asked, so that there is always a way to make room.

Used by `runtime/stack.py`.
"""

from collections.abc import Iterable
from typing import Final

from rillflow.core.events import (
    DegradeRequested,
    Event,
    PauseRequested,
    RedoRequested,
    ResumeRequested,
)
from rillflow.errors import RequestError
from rillflow.ports.clock import Clock
from rillflow.ports.storage.store import Catalogue
from rillflow.runtime.backpressure.quotas import (
    LEAST_BYTES,
    LEAST_ORDER_BYTES,
    StoreQuotas,
    Totals,
)
from rillflow.runtime.backpressure.store_room import StoreRoom

RESTRICTED: Final = 30110
MOST_NAMES: Final = 20_000
"""How many features and aliases of a workspace are listed."""
MOST_RULE_BYTES: Final = 16 << 20
"""What the gray and A/B rules of a workspace take together, with ``RULE_BYTES`` for each."""
RULE_BYTES: Final = 1024
NAME_BYTES: Final = 256

GOES_ON: Final = DegradeRequested, PauseRequested, ResumeRequested
"""Orders for executions that exist: they may go beyond a quota, and use more of the disk."""
ADMITTED: Final = frozenset({RedoRequested, *GOES_ON})
"""The orders that need room. Wake-ups and callbacks are admitted by the owner, which knows whether
they end a task; orders that end an execution need none."""


class StoredChanges:
    """What a process asks before it stores something for a caller.

    Attributes:
        most_names: How many features and aliases a workspace may have.
        most_rule_bytes: What the rules of a workspace may take.
    """

    def __init__(
        self, room: StoreRoom, quotas: StoreQuotas, store: Catalogue, clock: Clock
    ) -> None:
        """Count names and rules in this store."""
        self.most_names = MOST_NAMES
        self.most_rule_bytes = MOST_RULE_BYTES
        self._room = room
        self._quotas = quotas
        self._store = store
        self._names = Totals(clock, self._names_of)
        self._rules = Totals(clock, self._rules_of)

    def require_room(self) -> None:
        """Refuse what belongs to no workspace, where the disk has too little space.

        Raises:
            OverloadedError: It has (503).
        """
        self._room.require()

    async def admit(self, business: str, size_bytes: int) -> None:
        """Count bytes that a workspace is about to store.

        Raises:
            OverloadedError: The disk has too little space (503), or its quota is reached (429).
        """
        self._room.require(size_bytes)
        await self._quotas.take(business, size_bytes)

    async def admit_order(self, business: str, event: Event) -> None:
        """Count what an order of ``ADMITTED`` stores.

        Raises:
            OverloadedError: The disk has too little space (503), or the quota of the workspace is
                reached (429).
        """
        if isinstance(event, GOES_ON):
            self._room.require_for_order()
            await self._quotas.take(business, LEAST_ORDER_BYTES, for_order=True)
        elif isinstance(event, RedoRequested):
            await self.admit(business, LEAST_BYTES + len(event.data))

    async def admit_names(
        self, business: str, feature: str | None, alias: str | None, *, size_bytes: int = 0
    ) -> None:
        """Count names that are about to be listed, with a definition of so many bytes.

        Raises:
            OverloadedError: As ``admit``.
            RequestError: The workspace has too many names, and these are not listed yet (30110).
        """
        await self.admit(business, size_bytes + NAME_BYTES)
        if await self._names.take(business, self.most_names):
            return
        if not await self._store.is_listed(business, feature, alias):
            raise RequestError(
                f"a workspace may have {self.most_names} features and aliases; remove one first",
                wire_code=RESTRICTED,
            )

    async def admit_rule(self, business: str, parts: Iterable[str]) -> None:
        """Count a gray or A/B rule that is about to be set.

        Raises:
            OverloadedError: As ``admit``.
            RequestError: The rules of the workspace take too much (30110).
        """
        size_bytes = RULE_BYTES + sum(len(part.encode(errors="replace")) for part in parts)
        await self.admit(business, size_bytes)
        if not await self._rules.take(business, self.most_rule_bytes, size_bytes):
            raise RequestError(
                f"the rules of a workspace may take {self.most_rule_bytes} bytes; each takes"
                f" {RULE_BYTES} and what it and its names have; remove some first",
                wire_code=RESTRICTED,
            )

    async def _names_of(self, business: str) -> int:
        return (await self._store.catalogue_use(business)).names

    async def _rules_of(self, business: str) -> int:
        use = await self._store.catalogue_use(business)
        return use.bytes + RULE_BYTES * use.rules
