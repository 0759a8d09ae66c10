"""Searches among the executions of the memory store.

Used by `stores/memory/store.py`.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, pairwise

from rillflow.ids import ExecutionId
from rillflow.ports.storage.execution_search import FoundExecution, NewestCount, Place, Wanted
from rillflow.stores.append_plan import ExecutionRow
from rillflow.stores.large_values import joined_records
from rillflow.stores.memory.journal import MemoryJournal
from rillflow.stores.sql.newest_counts import (
    PartCount,
    common_window,
    needs_recount,
    newest_count,
    share_of,
)
from rillflow.stores.sql.searching import needs_features


class MemorySearch(MemoryJournal):
    """Searches; see the ``ExecutionSearch`` port. They read every execution."""

    async def search_executions(
        self, wanted: Wanted, *, before: Place | None = None, limit: int
    ) -> list[FoundExecution]:
        """List executions, newest submit time first, beginning after a place."""
        rows = reversed(list(self._found(wanted)))
        later = (row for row in rows if before is None or _place_of(row) < before)
        return [_found_execution(row) for row in islice(later, limit)]

    async def window_of(
        self, wanted: Wanted, *, before: Place | None = None, most: int
    ) -> int | None:
        """Return None: all that is stored is in memory, and a search looks at it once."""
        self._check_open()
        del wanted, before, most
        return None

    async def count_by_time(self, wanted: Wanted, edges_ms: Sequence[int]) -> list[dict[str, int]]:
        """Count executions by status, in each span of submit times between two edges."""
        rows = list(self._found(wanted))
        return [
            dict(Counter(row.status for row in rows if begins <= row.submitted_at_ms < ends))
            for begins, ends in pairwise(edges_ms)
        ]

    async def count_newest(self, wanted: Wanted, most: int) -> NewestCount:
        """Count the newest executions that a search finds, by status."""
        times = self._times_by_part(wanted)
        share = share_of(most, (status for status, _ in times))
        found = _newest_of(times, share)
        window = common_window(found, wanted, share)
        if needs_recount(found, window, wanted):
            found = _newest_of(self._times_by_part(window), share)
        return newest_count(found, window, wanted)

    def _times_by_part(self, wanted: Wanted) -> dict[tuple[str, str], list[int]]:
        """Return the submit times of each status, and of each workflow of a workspace."""
        is_apart = needs_features(wanted)
        times: dict[tuple[str, str], list[int]] = {}
        for row in self._found(wanted):
            part = (row.status, row.feature if is_apart else "")
            times.setdefault(part, []).append(row.submitted_at_ms)
        return times

    async def idempotency_keys(
        self, execution_ids: Sequence[ExecutionId]
    ) -> dict[ExecutionId, str]:
        """Return the keys with which executions were submitted; one without a key is left out."""
        self._check_open()
        rows = (self._by_id[each].row for each in execution_ids if each in self._by_id)
        return {row.execution_id: row.idempotency_key for row in rows if row.idempotency_key}

    async def read_journal(
        self, execution_id: ExecutionId, *, after_seq: int, limit: int
    ) -> list[bytes]:
        """Read journal records of one execution in their order, also those before a snapshot."""
        self._check_open()
        stored = self._by_id.get(execution_id)
        if stored is None:
            return []
        records = stored.records[after_seq : after_seq + limit]
        return joined_records(execution_id, records, stored.payloads)

    def _found(self, wanted: Wanted) -> Iterator[ExecutionRow]:
        self._check_open()
        keys = set(wanted.keys)
        return (
            row
            for row in self._oldest_first()
            if _is_found(row, wanted) and keys <= self._by_key[row.key].search_values.items()
        )


def _is_found(row: ExecutionRow, wanted: Wanted) -> bool:
    pairs = (
        (wanted.execution_id, row.execution_id),
        (wanted.parent_id, row.parent_id),
        (wanted.business, row.business),
        (wanted.feature if wanted.business is not None else None, row.feature),
        (wanted.definition_id, row.definition_id),
    )
    return (
        all(given in {None, found} for given, found in pairs)
        and (wanted.statuses is None or row.status in wanted.statuses)
        and (wanted.from_ms is None or row.submitted_at_ms >= wanted.from_ms)
        and (wanted.to_ms is None or row.submitted_at_ms <= wanted.to_ms)
    )


def _place_of(row: ExecutionRow) -> Place:
    return Place(row.submitted_at_ms, row.key)


def _found_execution(row: ExecutionRow) -> FoundExecution:
    return FoundExecution(**{name: getattr(row, name) for name in FoundExecution.__struct_fields__})


def _newest_of(times: Mapping[tuple[str, str], Sequence[int]], most: int) -> list[PartCount]:
    return [
        PartCount(status, min(len(of_part), most), of_part[-most:][0])
        for (status, _), of_part in times.items()
    ]
