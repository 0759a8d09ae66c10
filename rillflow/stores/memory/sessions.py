"""The ended sessions of the memory store.

Used by `stores/memory/store.py`.
"""

from collections.abc import Sequence

from rillflow.ports.storage.sessions import EndedSession
from rillflow.stores.memory.journal import MemoryLifecycle


class MemorySessions(MemoryLifecycle):
    """The sessions that were ended before their time; see the ``EndedSessions`` port."""

    def __init__(self) -> None:
        super().__init__()
        self._sessions: dict[str, int] = {}

    async def end_sessions(
        self, ended: Sequence[EndedSession], *, removed: Sequence[str] = ()
    ) -> None:
        """Keep rows, and remove others."""
        self._check_open()
        for session_id, ends_ms in ended:
            self._sessions[session_id] = max(ends_ms, self._sessions.get(session_id, ends_ms))
        for session_id in removed:
            self._sessions.pop(session_id, None)

    async def ended_sessions(self) -> list[EndedSession]:
        """List all rows by id."""
        self._check_open()
        return [EndedSession(*row) for row in sorted(self._sessions.items())]
