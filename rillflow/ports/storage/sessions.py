"""Sessions of the console that a person has ended, as the store keeps them for all replicas.

A session is valid without a row: only those that were ended before their time have one.

Used by `ports/storage/store.py` and `serve/schemas/session_ends.py`.
"""

from typing import Protocol


class EndedSessions(Protocol):
    """The sessions that were ended before their time."""

    async def end_session(self, session_id: str, *, ends_ms: int, at_ms: int) -> None:
        """Keep, durably, that a session has ended; doing so again changes nothing.

        Args:
            session_id: The session.
            ends_ms: When it would have ended by itself; until then it is kept.
            at_ms: The time now. Sessions that would have ended before are removed.
        """
        ...

    async def ended_sessions(self, *, at_ms: int) -> list[str]:
        """List the sessions that were ended and would otherwise be valid at that time, by id."""
        ...
