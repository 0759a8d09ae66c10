"""Sessions of the console that a person has ended, as the store keeps them for all replicas.

A session is valid without a row: only those that were ended before their time have one. One row may
stand for all sessions of a key until a time; what rows mean, the replicas know.

Used by `ports/storage/store.py`, `serve/schemas` and `stores`.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class EndedSession(NamedTuple):
    """A row: a session, or all of a key, and when what was ended would have ended by itself."""

    session_id: str
    ends_ms: int


class EndedSessions(Protocol):
    """The sessions that were ended before their time."""

    async def end_sessions(
        self, ended: Sequence[EndedSession], *, removed: Sequence[str] = ()
    ) -> None:
        """Keep rows, durably, and remove others in the same transaction.

        A row that is there keeps the later of both ends. All rows are found by their ids, so that
        the transaction takes no longer the more there are.
        """
        ...

    async def ended_sessions(self) -> list[EndedSession]:
        """List all rows by id; there are few, for replicas remove what is not needed."""
        ...
