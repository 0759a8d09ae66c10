"""Which sessions of the console were ended before their time, as this replica knows.

The store has them for all replicas. They are read at most once a second, and only while somebody
uses a session. There are few, since a replica removes those that are not needed (`ended_rows.py`).

Used by `serve/api.py` and `serve/schemas`.
"""

import asyncio
import logging
from contextlib import suppress
from typing import Final

from rillflow.errors import StoreError
from rillflow.ports.clock import Clock
from rillflow.ports.storage.sessions import EndedSession, EndedSessions
from serve.schemas.ended_rows import MOST_OF_KEY, Session, is_ended, needed

log = logging.getLogger("rillflow.api")

FRESH_S: Final = 1.0
"""How long a session that was ended at another replica may be used here."""
READ_S: Final = 2.0
"""After so long what was read before counts on."""
REMOVE_PAUSE_S: Final = 60.0
"""So often rows that have ended by themselves are removed."""
REMOVED_AT_ONCE: Final = 1_000
"""Rows that one transaction removes."""


class SessionEnds:
    """The sessions that were ended before their time."""

    def __init__(self, store: EndedSessions, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._rows: dict[str, int] | None = None
        """What the store has told, and what was written since then."""
        self._ended_here: dict[str, int] = {}
        """Those of this replica that the store has not told yet."""
        self._read_s = 0.0
        self._reading: asyncio.Task[None] | None = None
        self._removing: asyncio.Task[None] | None = None
        self._removed_s = float("-inf")
        self._waiting: dict[Session, set[asyncio.Future[None]]] = {}
        self._looking: asyncio.Task[None] | None = None

    async def has_ended(self, session: Session) -> bool:
        """Tell whether a session has ended, by itself or before its time.

        Raises:
            StoreError: The store has never answered.
        """
        if self._is_over(session):
            return True
        await self._refresh()
        return self._is_over(session)

    async def end(self, session: Session) -> None:
        """End a session, here and at all replicas.

        Raises:
            StoreError: The store did not keep it; here it has ended.
        """
        self._ended_here[session.session_id] = session.ends_ms
        if len(self._ended_here) > MOST_OF_KEY:
            self._ended_here = needed(self._ended_here, self._clock.now_ms())
        self._tell()
        with suppress(StoreError):
            await self._refresh()
        if self._rows is not None and is_ended(self._rows, session):
            return  # nothing to write, however often it is ended
        await self._store.end_sessions([EndedSession(*session)])
        if self._rows is not None:
            self._rows[session.session_id] = session.ends_ms
            self._remove_soon()

    async def until_ended(self, session: Session) -> None:
        """Return when a session has ended; one that was ended elsewhere, within a second or so."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(session, set()).add(future)
        if self._looking is None:
            self._looking = asyncio.create_task(self._look(), name="sessions")
        try:
            self._tell()
            await future
        finally:
            waiting = self._waiting[session]
            waiting.discard(future)
            if not waiting:
                del self._waiting[session]
            if not self._waiting and self._looking is not None:
                self._looking.cancel()
                self._looking = None

    async def _look(self) -> None:
        """Look for the end of the sessions that somebody waits for."""
        while True:
            await asyncio.sleep(FRESH_S)
            try:
                await self._refresh()
            except StoreError:
                continue  # logged; streams of a session go on until the store answers
            self._tell()

    def _tell(self) -> None:
        for session, waiting in self._waiting.items():
            if self._is_over(session):
                for future in waiting:
                    if not future.done():
                        future.set_result(None)

    def _is_over(self, session: Session) -> bool:
        return (
            session.ends_ms <= self._clock.now_ms()
            or is_ended(self._ended_here, session)
            or is_ended(self._rows or {}, session)
        )

    async def _refresh(self) -> None:
        """Have a list that was asked for within ``FRESH_S``; else, the last one."""
        if self._rows is not None and self._clock.monotonic_s() - self._read_s < FRESH_S:
            return
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read(), name="sessions")
        reading = self._reading
        await asyncio.wait({reading}, timeout=READ_S)
        if self._rows is None:
            raise StoreError("the store does not tell which sessions have ended")

    async def _read(self) -> None:
        asked_s = self._clock.monotonic_s()
        try:
            found = dict(await self._store.ended_sessions())
        except StoreError as error:
            log.warning("ended_sessions_not_read", extra={"reason": str(error)})
            return
        self._rows, self._read_s = found, asked_s
        now_ms = self._clock.now_ms()
        self._ended_here = {
            session_id: ends_ms
            for session_id, ends_ms in self._ended_here.items()
            if ends_ms > now_ms and not is_ended(found, Session(session_id, ends_ms))
        }
        self._remove_soon()

    def _remove_soon(self) -> None:
        """Begin to remove the rows that are not needed, if that is not under way."""
        is_due = self._clock.monotonic_s() - self._removed_s >= REMOVE_PAUSE_S
        is_free = self._removing is None or self._removing.done()
        if self._rows and is_free and (is_due or len(self._rows) > MOST_OF_KEY):
            self._removing = asyncio.create_task(self._remove(self._rows), name="sessions")

    async def _remove(self, rows: dict[str, int]) -> None:
        """Remove rows in portions, the first with the rows that stand for all of them."""
        self._removed_s = self._clock.monotonic_s()
        kept = needed(rows, self._clock.now_ms())
        ended = [EndedSession(*row) for row in kept.items() if rows.get(row[0]) != row[1]]
        removed = [session_id for session_id in rows if session_id not in kept]
        left = removed
        while left:
            portion, left = left[:REMOVED_AT_ONCE], left[REMOVED_AT_ONCE:]
            try:
                await self._store.end_sessions(ended, removed=portion)
            except StoreError as error:
                log.warning("ended_sessions_not_removed", extra={"reason": str(error)})
                return
            ended = []
        if self._rows is not None:
            for session_id in removed:
                self._rows.pop(session_id, None)
            self._rows.update(kept)
