"""Which sessions of the console were ended before their time, as this replica knows.

The store has them for all replicas. They are read at most once a second, and only while somebody
uses a session.

Used by `serve/api.py` and `serve/schemas`.
"""

import asyncio
import logging
from typing import Final, NamedTuple

from rillflow.errors import StoreError
from rillflow.ports.clock import Clock
from rillflow.ports.storage.sessions import EndedSessions

log = logging.getLogger("rillflow.api")

FRESH_S: Final = 1.0
"""How long a session that was ended at another replica may be used here."""
READ_S: Final = 2.0
"""After so long what was read before counts on."""


class Session(NamedTuple):
    """A session of the console: its name, and when it ends by itself."""

    session_id: str
    ends_ms: int

    @property
    def key_id(self) -> str:
        """The key that it was begun with; empty for the key of the settings."""
        return self.session_id.partition(".")[2]


class SessionEnds:
    """The sessions that were ended before their time."""

    def __init__(self, store: EndedSessions, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._ids: frozenset[str] | None = None
        self._ended_here: set[Session] = set()
        self._read_s = 0.0
        self._reading: asyncio.Task[None] | None = None
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
        now_ms = self._clock.now_ms()
        self._ended_here = {each for each in self._ended_here if each.ends_ms > now_ms}
        self._ended_here.add(session)
        self._tell()
        await self._store.end_session(session.session_id, ends_ms=session.ends_ms, at_ms=now_ms)

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
            or session in self._ended_here
            or session.session_id in (self._ids or ())
        )

    async def _refresh(self) -> None:
        """Have a list that was asked for within ``FRESH_S``; else, the last one."""
        if self._ids is not None and self._clock.monotonic_s() - self._read_s < FRESH_S:
            return
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read(), name="sessions")
        reading = self._reading
        await asyncio.wait({reading}, timeout=READ_S)
        if self._ids is None:
            raise StoreError("the store does not tell which sessions have ended")

    async def _read(self) -> None:
        asked_s = self._clock.monotonic_s()
        try:
            found = await self._store.ended_sessions(at_ms=self._clock.now_ms())
        except StoreError as error:
            log.warning("ended_sessions_not_read", extra={"reason": str(error)})
            return
        self._ids, self._read_s = frozenset(found), asked_s
