"""Searches, counts and long lists for callers: they take turns, so that none holds up others.

One search may read 50,000 rows, and whoever may read may ask any number of times at once.

Used by `runtime/stack.py`.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final, TypeVar

from rillflow.ports.storage.aliases import AliasName, AliasRow, ListedVersion
from rillflow.ports.storage.execution_search import FoundExecution, NewestCount, Place, Wanted
from rillflow.ports.storage.store import ExecutionFilter, ExecutionSummary, Store
from rillflow.runtime.aio.sender_turns import SenderTurns

AT_ONCE: Final = 3
"""How many searches of one replica run at the same time; one sender has one fewer of them."""
MOST_WAITING: Final = 128
"""How many may be under way or wait; half of them of one sender."""
Found = TypeVar("Found")


class FairSearches:
    """The searches of a store, in turns of those who ask.

    Every method raises OverloadedError (503) if there is no place, and else returns and raises what
    the method of the store does (``ExecutionSearch``, ``Journal``, ``AliasListings``).
    """

    def __init__(self, store: Store, sender: Callable[[], str]) -> None:
        """Search ``store``; ``sender`` tells for whom the present task searches."""
        self._store = store
        self._sender = sender
        self._turns = SenderTurns(
            most=MOST_WAITING,
            at_once=AT_ONCE,
            refusal="many searches are waiting; ask again in some seconds",
        )

    async def search_executions(
        self, wanted: Wanted, *, before: Place | None = None, limit: int
    ) -> list[FoundExecution]:
        """List executions, newest submit time first, beginning after a place."""
        return await self._in_turn(
            lambda: self._store.search_executions(wanted, before=before, limit=limit)
        )

    async def window_of(
        self, wanted: Wanted, *, before: Place | None = None, most: int
    ) -> int | None:
        """Return since which submit time a search by several values is to look."""
        if len(wanted.keys) < 2:
            return None  # as every store answers, without a turn
        return await self._in_turn(lambda: self._store.window_of(wanted, before=before, most=most))

    async def count_by_time(self, wanted: Wanted, edges_ms: Sequence[int]) -> list[dict[str, int]]:
        """Count executions by status, in each span of submit times."""
        return await self._in_turn(lambda: self._store.count_by_time(wanted, edges_ms))

    async def count_newest(self, wanted: Wanted, most: int) -> NewestCount:
        """Count the newest executions by status."""
        return await self._in_turn(lambda: self._store.count_newest(wanted, most))

    async def list_executions(
        self, wanted: ExecutionFilter, *, limit: int, offset: int = 0
    ) -> list[ExecutionSummary]:
        """List executions, newest submit time first."""
        return await self._in_turn(
            lambda: self._store.list_executions(wanted, limit=limit, offset=offset)
        )

    async def count_executions(self, wanted: ExecutionFilter) -> dict[str, int]:
        """Count executions by status."""
        return await self._in_turn(lambda: self._store.count_executions(wanted))

    async def count_each(self, wanted: Sequence[ExecutionFilter]) -> list[dict[str, int]]:
        """Count the executions of each of several filters by status, in one turn."""

        async def count() -> list[dict[str, int]]:
            return [await self._store.count_executions(each) for each in wanted]

        return await self._in_turn(count)

    async def aliases_of(
        self, workspaces: Collection[str], first: AliasName, *, limit: int
    ) -> list[AliasRow]:
        """List the aliases of workspaces by name, from ``first`` on; no workspaces are all."""
        return await self._in_turn(lambda: _aliases_of(self._store, workspaces, first, limit))

    async def youngest_aliases(
        self, business: str = "", feature: str = "", *, limit: int, offset: int = 0
    ) -> tuple[list[AliasRow], int]:
        """List aliases, the youngest creation first, and count all of them."""
        return await self._in_turn(
            lambda: self._store.youngest_aliases(business, feature, limit=limit, offset=offset)
        )

    async def listed_versions(
        self, business: str, feature: str, *, before: tuple[int, str] | None = None, limit: int
    ) -> list[ListedVersion]:
        """List the versions that the aliases of a feature have, newest first."""
        return await self._in_turn(
            lambda: self._store.listed_versions(business, feature, before=before, limit=limit)
        )

    async def count_codes(self, wanted: ExecutionFilter) -> dict[str, int]:
        """Count ended executions by failure code."""
        return await self._in_turn(lambda: self._store.count_codes(wanted))

    async def _in_turn(self, search: Callable[[], Awaitable[Found]]) -> Found:
        async with self._turns.turn(self._sender()):
            return await search()


async def _aliases_of(
    store: Store, workspaces: Collection[str], first: AliasName, limit: int
) -> list[AliasRow]:
    if not workspaces:
        return await store.alias_rows(first, limit=limit)
    rows: list[AliasRow] = []
    for business in sorted(workspaces):
        if len(rows) < limit and business >= first.business:
            begin = max(first, AliasName(business))
            found = await store.alias_rows(begin, limit=limit - len(rows))
            rows += [row for row in found if row.business == business]
    return rows
