"""Searches among the executions of the PostgreSQL store.

Used by `stores/postgres/store.py`.
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Final, NamedTuple

import msgspec

from rillflow.errors import StoreError
from rillflow.ids import ExecutionId, workspace_of
from rillflow.ports.storage.execution_search import FoundExecution, NewestCount, Place, Wanted
from rillflow.stores.large_values import joined_records, references_in
from rillflow.stores.postgres.database import PostgresDatabase
from rillflow.stores.postgres.journal import damage
from rillflow.stores.postgres.tables.search_parts import (
    StatusPart,
    newest_of,
    page_of,
    spans_of,
    window_of,
)
from rillflow.stores.sql.newest_counts import (
    PartCount,
    common_window,
    needs_recount,
    newest_count,
    share_of,
)
from rillflow.stores.sql.searching import (
    FEATURES,
    KEY_COUNT,
    MOST_PARTS,
    STATUSES,
    is_sifted,
    needs_features,
    parts_of,
)
from rillflow.stores.sql.stored_rows import damage_told, found_execution

_FEATURES: Final = FEATURES.format("$1", "$2")
_KEY_COUNT: Final = KEY_COUNT.format("$1", "$2")
_KEYS: Final = """
SELECT execution_id, idempotency_key FROM executions
WHERE execution_id = ANY($1::text[]) AND idempotency_key IS NOT NULL
"""
_RECORDS: Final = """
SELECT record FROM journal
WHERE execution = (SELECT key FROM executions WHERE execution_id = $1) AND seq > $2
ORDER BY seq LIMIT $3
"""
_PAYLOADS: Final = """
SELECT sha256, value FROM payloads
WHERE execution = (SELECT key FROM executions WHERE execution_id = $1)
    AND sha256 = ANY($2::bytea[])
"""


class _KnownParts(NamedTuple):
    """A search with its rarest value first, and the statuses and flows in which it finds some."""

    wanted: Wanted
    statuses: tuple[str, ...]
    features: tuple[str, ...]


class PostgresSearch:
    """Searches; see the ``ExecutionSearch`` port."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def search_executions(
        self, wanted: Wanted, *, before: Place | None = None, limit: int
    ) -> list[FoundExecution]:
        """List executions, newest submit time first, beginning after a place."""
        parts = await self._parts(wanted)
        if not parts:
            return []
        statement, values = page_of(parts, before, limit)
        rows = await self._database.scan(statement, *values)
        return [found_execution(row) for row in rows]

    async def window_of(
        self, wanted: Wanted, *, before: Place | None = None, most: int
    ) -> int | None:
        """Return since which submit time a search by several values is to look, at one time."""
        if not is_sifted(wanted):
            return None
        rarest = await self._rarest_first(wanted)
        first = msgspec.structs.replace(rarest, keys=rarest.keys[:1])
        parts = await self._parts(first)
        if not parts:
            return None
        share = share_of(most, (status for status, _ in parts))
        statement, values = window_of(parts, before, share)
        ((since,),) = await self._database.scan(statement, *values)
        return None if since is None else int(since)

    async def count_by_time(self, wanted: Wanted, edges_ms: Sequence[int]) -> list[dict[str, int]]:
        """Count executions by status, in each span of submit times between two edges."""
        counts: list[dict[str, int]] = [{} for _ in pairwise(edges_ms)]
        parts = await self._parts(wanted)
        if not parts or not counts:
            return counts
        statement, values = spans_of(parts, edges_ms)
        for status, number, found in await self._database.scan(statement, *values):
            span = counts[number - 1]
            span[status] = span.get(status, 0) + found
        return counts

    async def count_newest(self, wanted: Wanted, most: int) -> NewestCount:
        """Count the newest executions that a search finds, by status."""
        known = await self._known_parts(wanted)
        parts = parts_of(*known)
        share = share_of(most, (status for status, _ in parts))
        found = await self._newest(parts, share)
        window = common_window(found, wanted, share)
        if needs_recount(found, window, wanted):
            later = msgspec.structs.replace(known.wanted, from_ms=window.from_ms)
            found = await self._newest(parts_of(*known._replace(wanted=later)), share)
        return newest_count(found, window, wanted)

    async def _newest(self, parts: Sequence[StatusPart], most: int) -> list[PartCount]:
        if not parts:
            return []
        statement, values = newest_of(parts, most)
        return [PartCount(*row) for row in await self._database.scan(statement, *values)]

    async def idempotency_keys(
        self, execution_ids: Sequence[ExecutionId]
    ) -> dict[ExecutionId, str]:
        """Return the keys with which executions were submitted; one without a key is left out."""
        rows = await self._database.rows(_KEYS, list(execution_ids))
        return {ExecutionId(execution_id): key for execution_id, key in rows}

    async def read_journal(
        self, execution_id: ExecutionId, *, after_seq: int, limit: int
    ) -> list[bytes]:
        """Read journal records of one execution in their order, also those before a snapshot."""
        with damage_told(execution_id, (StoreError,), damage):
            read = partial(self._database.scan, reader=workspace_of(execution_id))
            found = await read(_RECORDS, execution_id, after_seq, limit)
            records = [record for (record,) in found]
            wanted = references_in(records)
            rows = await read(_PAYLOADS, execution_id, list(wanted)) if wanted else ()
            return joined_records(execution_id, records, dict(rows))

    async def _parts(self, wanted: Wanted) -> tuple[StatusPart, ...]:
        return parts_of(*await self._known_parts(wanted))

    async def _known_parts(self, wanted: Wanted) -> _KnownParts:
        """Return what occurs of that which the parts of a search differ in."""
        known = await self._database.column(STATUSES)
        statuses = tuple(
            each for each in known if wanted.statuses is None or each in wanted.statuses
        )
        features: tuple[str, ...] = ()
        wanted = await self._rarest_first(wanted)
        if needs_features(wanted):
            found = await self._database.column(_FEATURES, wanted.business, MOST_PARTS + 1)
            features = tuple(found)
        return _KnownParts(wanted, statuses, features)

    async def _rarest_first(self, wanted: Wanted) -> Wanted:
        """Return a search with its search keys in the order of how many executions have them."""
        if len(wanted.keys) < 2:
            return wanted
        counts = {each: await self._database.column(_KEY_COUNT, *each) for each in wanted.keys}
        rare = sorted(wanted.keys, key=counts.__getitem__)
        return msgspec.structs.replace(wanted, keys=tuple(rare))
