"""The ended sessions of the memory store.

Used by `stores/memory/store.py`.
"""

from rillflow.stores.memory.journal import MemoryLifecycle


class MemorySessions(MemoryLifecycle):
    """The sessions that were ended before their time; see the ``EndedSessions`` port."""

    def __init__(self) -> None:
        super().__init__()
        self._sessions: dict[str, int] = {}

    async def end_session(self, session_id: str, *, ends_ms: int, at_ms: int) -> None:
        """Keep that a session has ended."""
        self._check_open()
        self._sessions.setdefault(session_id, ends_ms)
        for old in [each for each, until_ms in self._sessions.items() if until_ms <= at_ms]:
            del self._sessions[old]

    async def ended_sessions(self, *, at_ms: int) -> list[str]:
        """List the sessions that were ended and would otherwise be valid."""
        self._check_open()
        return sorted(each for each, until_ms in self._sessions.items() if until_ms > at_ms)
