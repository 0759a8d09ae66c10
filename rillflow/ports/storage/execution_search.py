"""The search port: pages, counts and histograms of executions, for people who look for one.

A part of the ``Store`` port. Its cost does not depend on the number of executions that are stored,
except for ``count_by_time``, which reads one index entry for each execution that it counts.

Used by `ports`, `runtime`, `serve` and `stores`.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec

from rillflow.ids import ExecutionId


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which executions a search finds; None selects any. Times are submit times, inclusive.

    ``feature`` is used together with ``business`` only. ``keys`` are names and values of search
    keys, all of which an execution must have.
    """

    execution_id: ExecutionId | None = None
    parent_id: ExecutionId | None = None
    business: str | None = None
    feature: str | None = None
    statuses: tuple[str, ...] | None = None
    definition_id: str | None = None
    from_ms: int | None = None
    to_ms: int | None = None
    keys: tuple[tuple[str, str], ...] = ()


class Place(NamedTuple):
    """The place of an execution in the order of a search: newest submit time first."""

    submitted_at_ms: int
    key: int


class NewestCount(NamedTuple):
    """How many executions of a search have each status, or how many of its newest.

    ``from_ms`` is the submit time from which they were counted, None for all of them.
    ``is_whole`` is False if there are more since the time that was asked for. ``oldest_ms`` is the
    submit time of the oldest that was counted, None where there are none.
    """

    counts: dict[str, int]
    from_ms: int | None
    is_whole: bool
    oldest_ms: int | None


class FoundExecution(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a page; ``key`` tells executions of one millisecond apart."""

    key: int
    execution_id: ExecutionId
    business: str
    feature: str
    status: str
    code: str | None
    definition_id: str
    submitted_at_ms: int
    finished_at_ms: int | None
    parent_id: ExecutionId | None
    dedicated: bool

    @property
    def place(self) -> Place:
        """Where the next page begins, if this is the last row of one."""
        return Place(self.submitted_at_ms, self.key)


class ExecutionSearch(Protocol):
    """Searches among all stored executions, and the journal of one."""

    async def search_executions(
        self, wanted: Wanted, *, before: Place | None = None, limit: int
    ) -> list[FoundExecution]:
        """List executions, newest submit time first, beginning after a place.

        An execution that is added meanwhile shifts no page.
        """
        ...

    async def window_of(
        self, wanted: Wanted, *, before: Place | None = None, most: int
    ) -> int | None:
        """Return since which submit time a search by several values is to look, at one time.

        Of the executions with one of the values, those with the others are looked for row by row.
        From that time to the place, no status has many more than ``most`` rows. None where a search
        may look at all: it has fewer than two values, or fewer rows are before the place.
        """
        ...

    async def count_by_time(self, wanted: Wanted, edges_ms: Sequence[int]) -> list[dict[str, int]]:
        """Count executions by status, in each span of submit times between two edges.

        A span contains its first edge and not its second. Statuses that do not occur are omitted.
        """
        ...

    async def count_newest(self, wanted: Wanted, most: int) -> NewestCount:
        """Count the newest executions that a search finds, by status.

        Of each status up to ``most`` are counted, the newest. Where there are as many, all are
        counted from the time on since which none has more. The workflows of a workspace share
        ``most`` equally, so that fewer may be counted of one with many.
        """
        ...

    async def idempotency_keys(
        self, execution_ids: Sequence[ExecutionId]
    ) -> dict[ExecutionId, str]:
        """Return the keys with which executions were submitted; one without a key is left out."""
        ...

    async def read_journal(
        self, execution_id: ExecutionId, *, after_seq: int, limit: int
    ) -> list[bytes]:
        """Read journal records of one execution in their order, also those before a snapshot.

        The list is empty at the end of the journal, and for an unknown execution.

        Raises:
            DamagedError: A part of it is missing, or cannot be read.
        """
        ...
