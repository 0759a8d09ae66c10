"""Lists of triggers, made for their senders in turn: pages, and all bodies in Rill Flow's form.

Used by `runtime/triggers/registry.py`.
"""

import sys
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, Final

from rillflow.gateways.outbound.threads import FOR_LISTS
from rillflow.ports.clock import Clock
from rillflow.ports.triggers import TriggerRow, Triggers
from rillflow.runtime.aio.sender_turns import SenderTurns
from rillflow.runtime.triggers.descriptions import add_bodies, all_described

READ_TOGETHER: Final = 20
"""Rows read at a time for a list, of up to 16 KiB each besides their contexts."""
PAGE_CHARACTERS: Final = 100_000
"""A page of a list has no further trigger after so much of specifications."""
LONGEST_PAGE_S: Final = 0.05
"""A page has no further rows after so much processor time: rare times are found slowly."""
PAGES_AT_ONCE: Final = 4
"""How many pages have rows read at a time; one sender has one fewer of them."""
LISTS_AT_ONCE: Final = 2
"""How many lists with contexts are made at a time; one sender has one of them."""
BODIES_AT_ONCE: Final = 50
"""Triggers whose contexts are read together: 13 MB at most."""


class TriggerLists:
    """The lists of the triggers of a store."""

    def __init__(
        self,
        store: Triggers,
        clock: Clock,
        sender: Callable[[], str],
        *,
        longest_page_s: float = LONGEST_PAGE_S,
    ) -> None:
        """List what is in this store; ``sender`` tells for whom the present task does."""
        self._store = store
        self._clock = clock
        self._sender = sender
        self._longest_page_s = longest_page_s
        never = "never refused"
        self._listing = SenderTurns(most=sys.maxsize, at_once=LISTS_AT_ONCE, refusal=never)
        self._reading = SenderTurns(most=sys.maxsize, at_once=PAGES_AT_ONCE, refusal=never)

    async def page(
        self,
        workspaces: Collection[str] = (),
        *,
        owner: str | None,
        after: str,
        limit: int,
    ) -> tuple[list[dict[str, Any]], str]:
        """Return triggers by id, without their contexts, beginning after one.

        The second value is the id after which the next page begins, empty at the end. A page has
        fewer than ``limit`` triggers if those have long specifications, or rare times.

        Args:
            workspaces: Those whose triggers are listed; none are all.
            owner: The alias that declares them; None for any.
            after: The id after which the page begins.
            limit: How many it has at most.
        """
        sender = self._sender()
        found: list[dict[str, Any]] = []
        characters, spent_s = 0, 0.0
        while True:
            async with self._reading.turn(sender):
                rows = await self._store.list_triggers(
                    owner=owner, workspaces=workspaces, after=after, limit=READ_TOGETHER
                )
            fitting = _fitting(rows[: limit - len(found)], PAGE_CHARACTERS - characters)
            characters += sum(map(_characters_of, fitting))
            shown, took_s = await all_described(fitting, self._clock.now_ms(), sender)
            found += shown
            spent_s += took_s
            if len(fitting) < len(rows):
                return found, found[-1]["id"]
            if len(rows) < READ_TOGETHER:
                return found, ""
            after = rows[-1].id
            if spent_s > self._longest_page_s:
                return found, after

    async def bodies(
        self,
        kind: str,
        workspaces: Collection[str] = (),
        *,
        take_room: Callable[[int], None],
    ) -> bytes:
        """Return all triggers of a kind by id, as they were added in Rill Flow's form.

        A sender has one such text made at a time; contexts are copied as they are stored.

        Args:
            kind: The type of the triggers.
            workspaces: Those whose triggers are listed; none are all.
            take_room: Called with the bytes of all triggers before they are read; raises if there
                is no room for them.

        Returns:
            A JSON object, as text.
        """
        sender = self._sender()
        async with self._listing.turn(sender):
            take_room(await self._bytes_of(workspaces))
            text, after = bytearray(b"{"), ""
            while rows := await self._store.list_triggers(
                kind=kind, workspaces=workspaces, after=after, limit=BODIES_AT_ONCE
            ):
                after = rows[-1].id
                stored = await self._store.triggers_now([row.id for row in rows])
                found = [stored[row.id] for row in rows if row.id in stored]
                await FOR_LISTS.run(sender, partial(add_bodies, text, found))
            text += b"}"
            return await FOR_LISTS.run(sender, lambda: bytes(text))

    async def _bytes_of(self, workspaces: Collection[str]) -> int:
        """Return what the triggers of a workspace take; of several, what all together take."""
        if len(workspaces) != 1:
            return (await self._store.trigger_use()).bytes
        [workspace] = workspaces
        return (await self._store.trigger_use(workspace)).bytes_of_one


def _fitting(rows: Sequence[TriggerRow], characters: int) -> list[TriggerRow]:
    """Return the rows for which there is room; the last one may exceed it."""
    fitting: list[TriggerRow] = []
    for row in rows:
        if characters < 0:
            break
        fitting.append(row)
        characters -= _characters_of(row)
    return fitting


def _characters_of(row: TriggerRow) -> int:
    return len(row.spec) + len(row.progress)
