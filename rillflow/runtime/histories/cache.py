"""The histories that were looked at last, and the views of them.

Used by `runtime/stack.py`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from cachetools import LRUCache

from rillflow.core.events import ExecutionSubmitted
from rillflow.core.inspection.history.journal import data_of
from rillflow.core.inspection.history.timelines import timeline
from rillflow.core.inspection.history.writes import (
    MOST_CHANGES,
    Room,
    contexts_of,
    shown_changes,
)
from rillflow.core.inspection.views import inspect
from rillflow.core.plan import Plan
from rillflow.core.state import ExecutionState
from rillflow.ids import ExecutionId
from rillflow.jsontypes import JsonObject, JsonValue, encode_json
from rillflow.ports.storage.store import Store
from rillflow.runtime.aio.sender_turns import SenderTurns
from rillflow.runtime.aio.thread_pool import FOR_HISTORIES
from rillflow.runtime.definitions.catalogue import Plans
from rillflow.runtime.histories.history import History
from rillflow.runtime.histories.past_rules import past_rules
from rillflow.runtime.histories.weighed_recorder import MOST_STATE_BYTES
from rillflow.runtime.histories.writes_page import WritesPage

Found = TypeVar("Found")

MOST_KEPT: Final = 8
MOST_BYTES: Final = 128 << 20
"""How much memory the histories that are kept may take, by their weight."""
KEPT_S: Final = 60.0
"""How long a history is kept after its last use."""
MOST_WAITING: Final = 32
"""How many requests may wait, a half of them of one sender; one replays at a time."""
SCANNED: Final = 1_000
"""How many events are looked through for one page."""
CHUNK: Final = 200
MOST_SHOWN_BYTES: Final = 4 << 20
"""How much the changes of one answer take."""
_PLANS_BYTES: Final = 64 << 20


class Histories:
    """Histories by execution; the least recently used are dropped, and all after a minute."""

    def __init__(  # noqa: PLR0913 - the limits, which tests set
        self,
        store: Store,
        *,
        most: int = MOST_KEPT,
        most_bytes: int = MOST_BYTES,
        state_bytes: int = MOST_STATE_BYTES,
        kept_s: float = KEPT_S,
        sender: Callable[[], str] = str,
    ) -> None:
        """Read journals from a store; ``sender`` tells who has sent the present request."""
        self._store = store
        self._plans = Plans(store, most_bytes=_PLANS_BYTES)
        self._kept = LRUCache[ExecutionId, History](most)
        self._most_bytes = most_bytes
        self._state_bytes = state_bytes
        self._kept_s = kept_s
        self._sender = sender
        self._turns = SenderTurns(
            most=MOST_WAITING, refusal="many journals are being read; ask again"
        )
        self._sweeping: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._kept)

    async def view(
        self, execution_id: ExecutionId, seq: int, kind: str, asked: dict[str, str]
    ) -> bytes | None:
        """Return a view of `core/inspection` as it was after an event, as JSON text.

        Raises:
            RillflowError: There is no such event, or the journal cannot be replayed so far.
        """
        async with self._history(execution_id) as history:
            recorder = await history.at(seq)

            def shown() -> bytes | None:
                at_ms = recorder.at_ms
                value = inspect(kind, recorder.plan, recorder.state, at_ms, asked)
                return None if value is None else encode_json(value)

            return await FOR_HISTORIES.run(shown)

    async def timeline(  # noqa: PLR0913 - the parameters of the route
        self,
        execution_id: ExecutionId,
        last_seq: int,
        *,
        route: str,
        offset: int,
        limit: int,
        seq: int | None,
    ) -> bytes | None:
        """Return the timeline of a level, now or as it was after an event, as JSON text.

        Raises:
            RillflowError: As ``view``.
        """
        async with self._history(execution_id) as history:
            recorder = await history.whole(last_seq)
            then = recorder if seq is None else await history.at(seq)
            until_ms = None if seq is None else (await history.event(seq)).at_ms

            def shown() -> bytes | None:
                value = timeline(
                    recorder,
                    then.state,
                    route=route,
                    offset=offset,
                    limit=limit,
                    until_ms=until_ms,
                )
                return None if value is None else encode_json(value)

            return await FOR_HISTORIES.run(shown)

    async def events(  # noqa: PLR0913 - the parameters of the route
        self,
        execution_id: ExecutionId,
        last_seq: int,
        *,
        cursor: int,
        limit: int,
        is_newest_first: bool,
        kind: str,
        task: str,
    ) -> JsonObject:
        """Return a page of events. ``cursor`` is the last one of the page before, 0 for the first.

        Raises:
            RillflowError: As ``view``.
        """
        found: list[JsonValue] = []
        at, scanned = cursor, 0
        if is_newest_first:
            at = last_seq + 1 if not cursor else min(cursor, last_seq + 1)
        async with self._history(execution_id) as history:
            while len(found) < limit and scanned < SCANNED:
                first, last = (max(at - CHUNK, 1), at - 1) if is_newest_first else (at + 1, 0)
                last = last if is_newest_first else min(at + CHUNK, last_seq)
                if first > last:
                    return {"last_seq": last_seq, "events": found, "next": None}
                rows = await history.rows(first, last)
                for row in reversed(rows) if is_newest_first else rows:
                    at, scanned = _seq_of(row), scanned + 1
                    if _is_wanted(row, kind, task):
                        found.append(row)
                    if len(found) >= limit:
                        break
        is_end = at <= 1 if is_newest_first else at >= last_seq
        return {"last_seq": last_seq, "events": found, "next": None if is_end else str(at)}

    async def event(self, execution_id: ExecutionId, seq: int) -> JsonObject:
        """Return one event with its effect and its data.

        Raises:
            RillflowError: As ``view``.
        """
        async with self._history(execution_id) as history:
            event = await history.event(seq)
            [row] = await history.rows(seq, seq)
        return {**row, "data": await FOR_HISTORIES.run(lambda: data_of(event))}

    async def changes(self, execution_id: ExecutionId, seq: int) -> JsonObject:
        """Return what one event changed in contexts.

        Raises:
            RillflowError: As ``view``.
        """
        async with self._history(execution_id) as history:
            event = await history.event(seq)
            task = getattr(event, "task", "")
            before: dict[str, JsonObject] = {}
            if seq > 1:
                before = contexts_of((await history.at(seq - 1)).state)
            after = contexts_of((await history.at(seq)).state)
            return await FOR_HISTORIES.run(lambda: _changes(seq, str(task), before, after))

    async def writes(
        self, execution_id: ExecutionId, last_seq: int, *, cursor: int, limit: int
    ) -> JsonObject:
        """Return what tasks wrote into contexts, in order, up to an event.

        ``cursor`` is the last event of the page before, 0 for the first.

        Raises:
            RillflowError: As ``view``.
        """
        page, at = WritesPage(cursor, limit), cursor
        async with self._history(execution_id) as history:
            while at < last_seq and not page.is_full and at - cursor < SCANNED:
                first, at = at + 1, min(at + CHUNK, last_seq)
                await history.noted(first, at, page.note)
        return page.shown(last_seq)

    async def rules(
        self, execution_id: ExecutionId, last_seq: int, seq: int, task: str
    ) -> JsonObject | None:
        """Return the mappings and conditions of an instance with their values, as of an event.

        Raises:
            RillflowError: As ``view``.
        """
        async with self._history(execution_id) as history:
            return await past_rules(history, last_seq, seq, task)

    async def look(
        self, execution_id: ExecutionId, seq: int, look: Callable[[Plan, ExecutionState], Found]
    ) -> Found:
        """Return what a function says about the state after an event; it must not change it.

        Raises:
            RillflowError: As ``view``, or what the function raises.
        """
        async with self._history(execution_id) as history:
            recorder = await history.at(seq)
            return await FOR_HISTORIES.run(lambda: look(recorder.plan, recorder.state))

    async def submitted(self, execution_id: ExecutionId) -> bytes:
        """Return the data that an execution was submitted with, as JSON text.

        Raises:
            RillflowError: As ``view``.
        """
        async with self._history(execution_id) as history:
            event = await history.event(1)
        return event.data if isinstance(event, ExecutionSubmitted) else b"{}"

    @property
    def weight_bytes(self) -> int:
        """What the histories take that are kept."""
        return sum(history.weight_bytes for history in self._kept.values())

    def stop(self) -> None:
        """Drop all histories."""
        self._kept.clear()
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None

    @asynccontextmanager
    async def _history(self, execution_id: ExecutionId) -> AsyncIterator[History]:
        async with self._turns.turn(self._sender()):
            history = self._kept.get(execution_id)
            if history is None:
                history = History(
                    execution_id, self._store, self._plans, state_bytes=self._state_bytes
                )
                self._kept[execution_id] = history
            try:
                yield history
            finally:
                self._used(history)

    def _used(self, history: History) -> None:
        """Drop others, the least recently used first, until all are within the limit."""
        loop = asyncio.get_running_loop()
        history.used_s = loop.time()
        while len(self._kept) > 1 and self.weight_bytes > self._most_bytes:
            self._kept.popitem()
        if self._sweeping is None:
            self._sweeping = loop.call_later(self._kept_s, self._sweep)

    def _sweep(self) -> None:
        """Drop what has not been used for long, and come again while there is more."""
        loop = asyncio.get_running_loop()
        old_s = loop.time() - self._kept_s
        for execution_id, history in list(self._kept.items()):
            if history.used_s <= old_s:
                del self._kept[execution_id]
        self._sweeping = None
        if self._kept:
            self._sweeping = loop.call_later(self._kept_s / 4, self._sweep)


def _seq_of(row: JsonObject) -> int:
    seq = row["seq"]
    return seq if isinstance(seq, int) else 0


def _is_wanted(row: JsonObject, kind: str, task: str) -> bool:
    if kind and row["kind"] != kind:
        return False
    name = str(row["task"])
    return not task or name == task or name.rpartition("-")[2] == task


def _changes(
    seq: int, task: str, before: dict[str, JsonObject], after: dict[str, JsonObject]
) -> JsonObject:
    found: list[JsonValue] = []
    more, room = 0, Room(MOST_CHANGES, MOST_SHOWN_BYTES)
    for route, context in after.items():
        old = before.get(route, {})
        if old is not context:
            changes, left_out = shown_changes(old, context, room, route=route, task=task)
            found += changes
            more += left_out
    return {"seq": seq, "changes": found, "more": more}
